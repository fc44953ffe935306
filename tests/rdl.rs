//! RDL, the rich directory listing, as its users meet it: over HTTP, at the shell, from C; with metadata from sidecars,
//! extended attributes and files, and with files that mean no good.

#![cfg(unix)]

#[path = "common/c.rs"]
pub mod c;
pub mod common;

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::*;
use pdtp::content::rdl;
use pdtp::wire::Entry;
use serde_json::Value;

const NONE: &[&str] = &[];

fn sidecar(elements: &str) -> String {
    format!("<metadata xmlns:dc=\"http://purl.org/dc/elements/1.1/\">{elements}</metadata>\n")
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(dir.join(name), content).unwrap();
}

/// One object a line.
fn objects(run: &Run) -> Vec<Value> {
    run.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `pdtp stat --json` says of a file, which waits for its metadata.
fn stat(server: &Pdtpd, path: &str) -> Value {
    objects(&pdtp(&["stat", "--json", &server.uri(path)]).expect(0)).remove(0)
}

fn wait_for(server: &Pdtpd, path: &str, key: &str, value: Option<&str>) {
    wait_until(&format!("{path} has {key} {value:?}"), PATIENCE, || {
        stat(server, path)["metadata"][key][0].as_str() == value
    });
}

/// A second of silence as MP3, with tags.
fn song(title: &str) -> Vec<u8> {
    let tag = |name: &[u8], text: &str| {
        let text: Vec<u8> =
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        [name, &(text.len() as u32 + 1).to_be_bytes(), &[0, 0, 1], &text].concat()
    };
    let tags = [tag(b"TIT2", title), tag(b"TPE1", "Ada")].concat();
    let length = [21, 14, 7, 0].map(|shift| (tags.len() >> shift) as u8 & 127);
    // MPEG 1 layer III, 128 kbit/s, 44,100 Hz, stereo.
    let frame = [b"\xff\xfb\x90\0".as_slice(), &[0; 413]].concat();
    [b"ID3\x03\0\0".as_slice(), &length, &tags, &frame.repeat(40)].concat()
}

/// The beginning of a picture, which is all that is looked at.
fn png(width: u32, height: u32) -> Vec<u8> {
    let head = [b"IHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n\0\0\0\r".as_slice(), &head, &[0; 4]].concat()
}

fn epub(package: &str) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let packed =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let container = "<container xmlns=\"urn:oasis:names:tc:opendocument:xmlns:container\"><rootfiles>\
                     <rootfile full-path=\"OPS/p.opf\"/></rootfiles></container>";
    for (name, text, how) in [
        ("mimetype", "application/epub+zip", stored),
        ("META-INF/container.xml", container, packed),
        ("OPS/p.opf", package, packed),
    ] {
        archive.start_file(name, how).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Checks a document against the schema with the system's own tool, and reads it with ours.
fn validated(text: &str) -> rdl::Document {
    if c::is_installed("xmllint") {
        let dir = scratch();
        write(dir.path(), "listing.xml", text);
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rdl.xsd");
        let mut command = Command::new("xmllint");
        command.args(["--noout", "--nonet", "--schema"]).arg(schema).arg(dir.path().join("listing.xml"));
        let run = Proc::spawn(command).finish(PATIENCE);
        assert_eq!(run.code(), 0, "{text}");
    } else {
        eprintln!("skipped: xmllint is not installed; the document is only read by our own parser");
    }
    rdl::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn get_rdl(server: &Pdtpd, target: &str) -> (rdl::Document, String) {
    let answer = http(server.port(), "GET", target, &[("Accept", rdl::MEDIA_TYPE)]);
    assert_eq!((answer.status, answer.header("content-type")), (200, rdl::MEDIA_TYPE));
    let text = answer.text();
    (validated(&text), text)
}

fn entry<'a>(document: &'a rdl::Document, name: &str) -> &'a Entry {
    let found = document.entries.iter().find(|entry| entry.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {document:?}"))
}

fn values(entry: &Entry) -> Vec<String> {
    let all = entry.about.as_ref().unwrap().attributes.iter();
    all.map(|(attribute, value)| format!("{attribute}={value}")).collect()
}

#[test]
fn everything_that_is_written_is_valid_and_says_what_the_files_are() {
    let served = make_tree(&[("plain.txt", 40_000), ("dir/in it", 10)]);
    let at = served.path();
    write(at, "song.mp3", song("Tea & <Cake>"));
    write(at, "picture.png", png(640, 480));
    let package = sidecar("<dc:title>A Book</dc:title><dc:language>en</dc:language>");
    write(at, "book.epub", epub(&package));
    write(at, "talk", b"words\n");
    write(at, "talk.dc.xml", sidecar("<dc:title>\u{10ffff} ]]&gt; \"'</dc:title><dc:date>2026</dc:date>"));
    write(at, "hostile <&\"'>]]> \u{1}\u{ffff}.txt", b"x");
    std::fs::write(at.join(OsStr::from_bytes(b"no \xff text")), b"x").unwrap();
    std::fs::create_dir(at.join("empty & dir")).unwrap();
    let server = Pdtpd::start(at, NONE);

    for (path, key) in
        [("/song.mp3", "dc.title"), ("/picture.png", "media.width"), ("/book.epub", "dc.title")]
    {
        wait_until(path, PATIENCE, || stat(&server, path)["metadata"][key][0].is_string());
    }
    wait_until("all are looked at", PATIENCE, || !get_rdl(&server, "/").1.contains("described="));
    let (document, text) = get_rdl(&server, "/");
    assert_eq!(document.path.as_str(), "/");
    assert_eq!(document.entries.len(), 10, "{text}");
    let song = values(entry(&document, "song.mp3"));
    for expected in [
        "dc.title=Tea & <Cake>",
        "dc.creator=Ada",
        "dc.format=audio/mpeg",
        "media.codec=mp3",
        "media.sample-rate=44100",
        "media.channels=2",
    ] {
        assert!(song.contains(&expected.to_owned()), "{expected}: {song:?}");
    }
    assert_eq!(
        values(entry(&document, "picture.png")),
        ["dc.format=image/png", "media.width=640", "media.height=480"]
    );
    assert_eq!(
        values(entry(&document, "book.epub")),
        ["dc.title=A Book", "dc.format=application/epub+zip", "dc.language=en"]
    );
    assert_eq!(values(entry(&document, "talk")), ["dc.title=\u{10ffff} ]]> \"'", "dc.date=2026"]);
    assert_eq!(values(entry(&document, "plain.txt")), ["dc.format=text/plain"]);
    // The same file, exactly, whatever its name is.
    let hostile = entry(&document, "hostile <&\"'>]]> \u{1}\u{ffff}.txt");
    assert!(hostile.path.is_none() && text.contains("<name>hostile &lt;&amp;"), "{text}");
    assert!(document.entries.iter().any(|entry| entry.path.as_deref() == Some("no%20%FF%20text")), "{text}");
    // What is hashed has its version.
    let plain = entry(&document, "plain.txt");
    assert_eq!((plain.size, plain.chunk_size.is_some(), plain.root.is_some()), (40_000, true, true));

    // At the shell it is one document, however deep.
    let all = validated(&pdtp(&["ls", "-R", "--rdl", &server.uri("/")]).expect(0).text());
    assert_eq!(all.entries.len(), 11);
    assert_eq!(entry(&all, "dir/in it").size, 10);
    assert_eq!(entry(&all, "song.mp3"), entry(&document, "song.mp3"));
    let below = validated(&pdtp(&["ls", "--rdl", &server.uri("/dir")]).expect(0).text());
    assert_eq!((below.path.as_str(), below.entries.len()), ("/dir", 1));
    let one = validated(&pdtp(&["ls", "--rdl", &server.uri("/song.mp3")]).expect(0).text());
    assert_eq!(entry(&one, "song.mp3"), entry(&document, "song.mp3"));
    let none = validated(&pdtp(&["ls", "--rdl", &server.uri("/empty%20%26%20dir")]).expect(0).text());
    assert!(none.entries.is_empty());
}

#[test]
fn many_entries_come_in_pages_each_valid() {
    let served = scratch();
    for index in 0..1500 {
        write(served.path(), &format!("file{index:04}"), b"");
    }
    write(
        served.path(),
        "file0700.dc.xml",
        sidecar(&format!("<dc:description>{}</dc:description>", "&amp;".repeat(3000))),
    );
    let server = Pdtpd::start(served.path(), NONE);
    let first = http(server.port(), "GET", "/", &[("Accept", rdl::MEDIA_TYPE)]);
    let next =
        first.header("link").strip_prefix('<').and_then(|rest| rest.split_once('>')).unwrap().0.to_owned();
    let (first, second) = (validated(&first.text()), get_rdl(&server, &format!("/{next}")).0);
    assert_eq!(first.entries.len() + second.entries.len(), 1501);
    let all = pdtp(&["ls", "--rdl", &server.uri("/")]).expect(0).text();
    assert_eq!(all.matches("<file ").count(), 1501);
}

#[test]
fn signatures_are_told_in_xml_and_in_json() {
    let (served, keys) = (make_tree(&[("a", 10), ("b", 10)]), scratch());
    let key = keys.path().join("key");
    let key = key.to_str().unwrap();
    pdtp(&["keygen", "--no-passphrase", key]).expect(0);
    pdtp_in(served.path(), &["sign", "--key", key, "a"]).expect(0);
    for (options, of_b) in [(vec![], None), (vec!["--sign-key", key], Some("server"))] {
        let server = Pdtpd::start(served.path(), &options);
        wait_until("hashed", PATIENCE, || entry(&get_rdl(&server, "/").0, "b").root.is_some());
        let (document, text) = get_rdl(&server, "/");
        assert!(text.contains("<signed by=\"publisher\"/>"), "{text}");
        assert_eq!(entry(&document, "a").signed_by, Some(pdtp::wire::SignedBy::Publisher));
        assert_eq!(entry(&document, "b").signed, of_b.is_some());
        let listed = objects(&pdtp(&["ls", "--json", &server.uri("/")]).expect(0));
        let of = |name: &str| listed.iter().find(|entry| entry["name"] == name).unwrap()["signed_by"].clone();
        assert_eq!((of("a"), of("b").as_str()), (Value::from("publisher"), of_b));
        // And to people.
        let long = pdtp(&["ls", "-l", &server.uri("/")]).expect(0).text();
        let state = |name: &str| {
            let line = long.lines().find(|line| line.ends_with(&format!("  {name}"))).unwrap();
            line.split_whitespace().rev().nth(1).unwrap().to_owned()
        };
        assert_eq!((state("a").as_str(), state("b").as_str()), ("signed", of_b.unwrap_or("-")), "{long}");
        let page = http(server.port(), "GET", "/", &[("Accept", "text/html")]).text();
        let row =
            |name: &str| page.split("<tr>").find(|row| row.contains(&format!(">{name}</bdi>"))).unwrap();
        assert!(row("a").contains(">signed<"), "{page}");
        assert_eq!(row("b").contains(">signed by the server<"), of_b.is_some(), "{page}");
        let names = |condition: &str| pdtp(&["ls", "--where", condition, &server.uri("/")]).expect(0).text();
        assert_eq!(names("signed=publisher"), "a\n");
        assert_eq!(names("signed=no").contains("b\n"), of_b.is_none());
    }
}

/// The tag of 1996, at the end of an MP3.
fn id3v1(title: &str) -> Vec<u8> {
    let field = |text: &str, length: usize| {
        let mut field: Vec<u8> = text.bytes().take(length).collect();
        field.resize(length, 0);
        field
    };
    let fields =
        [field(title, 30), field("Somebody", 30), field("An Album", 30), field("1999", 4), field("", 30)];
    [b"TAG".as_slice(), &fields.concat(), &[255]].concat()
}

#[test]
fn of_two_tags_in_a_song_the_fuller_one_counts() {
    let served = scratch();
    let title = "A title of rather more than thirty characters, written out";
    write(served.path(), "both.mp3", [song(title), id3v1(title)].concat());
    let untagged = song("")[song("").len() - 417 * 40..].to_vec();
    write(served.path(), "old.mp3", [untagged, id3v1("Short")].concat());
    let server = Pdtpd::start(served.path(), NONE);
    wait_for(&server, "/both.mp3", "dc.title", Some(title));
    wait_for(&server, "/both.mp3", "dc.creator", Some("Ada"));
    // Only the other says this.
    wait_for(&server, "/both.mp3", "dc.relation", Some("An Album"));
    wait_for(&server, "/old.mp3", "dc.title", Some("Short"));
    wait_for(&server, "/old.mp3", "dc.creator", Some("Somebody"));
}

#[test]
fn sidecar_before_attributes_before_tags_and_all_of_it_live() {
    let served = scratch();
    let file = served.path().join("song.mp3");
    write(served.path(), "song.mp3", song("by tag"));
    let server = Pdtpd::start(served.path(), NONE);
    wait_for(&server, "/song.mp3", "dc.title", Some("by tag"));

    if xattr::set(&file, "user.dublincore.title", b"by attribute").is_ok() {
        xattr::set(&file, "user.xdg.origin.url", b"https://h/x?token=secret").unwrap();
        wait_for(&server, "/song.mp3", "dc.title", Some("by attribute"));
        wait_for(&server, "/song.mp3", "dc.source", Some("https://h/x"));
    } else {
        eprintln!("skipped: the file system has no extended attributes");
    }
    write(served.path(), "song.mp3.dc.xml", sidecar("<dc:title>by sidecar</dc:title>"));
    wait_for(&server, "/song.mp3", "dc.title", Some("by sidecar"));
    // What the sidecar does not say is still had from elsewhere.
    assert_eq!(stat(&server, "/song.mp3")["metadata"]["dc.creator"][0], "Ada");
    write(served.path(), "song.mp3.dc.xml", sidecar("<dc:title>another one</dc:title>"));
    wait_for(&server, "/song.mp3", "dc.title", Some("another one"));
    write(served.path(), "song.mp3.dc.xml", "<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>");
    let by_file = if xattr::get(&file, "user.dublincore.title").is_ok_and(|value| value.is_some()) {
        "by attribute"
    } else {
        "by tag"
    };
    wait_for(&server, "/song.mp3", "dc.title", Some(by_file));
    wait_until("why is in the log", PATIENCE, || server.said().contains("a document type declaration"));
    write(served.path(), "song.mp3.dc.xml", sidecar("<dc:title>again</dc:title>"));
    wait_for(&server, "/song.mp3", "dc.title", Some("again"));
    std::fs::remove_file(served.path().join("song.mp3.dc.xml")).unwrap();
    wait_for(&server, "/song.mp3", "dc.title", Some(by_file));
    // In a listing, without asking for the file itself.
    wait_until("it is listed", PATIENCE, || {
        values(entry(&get_rdl(&server, "/").0, "song.mp3")).contains(&format!("dc.title={by_file}"))
    });
}

#[test]
fn what_is_looked_for_is_what_was_asked_for() {
    let served = scratch();
    write(served.path(), "song.mp3", song("by tag"));
    write(served.path(), "talk", b"words");
    write(served.path(), "talk.dc.xml", sidecar("<dc:title>by sidecar</dc:title>"));
    let state = scratch();
    let kept = state.path().to_str().unwrap();
    for (sources, of_song, of_talk) in [
        ("full", Some("by tag"), Some("by sidecar")),
        ("sidecar", None, Some("by sidecar")),
        ("off", None, None),
        ("full", Some("by tag"), Some("by sidecar")),
    ] {
        let mut server = Pdtpd::start(served.path(), &["--metadata", sources, "--state", kept]);
        let title = |path: &str| stat(&server, path)["metadata"]["dc.title"][0].as_str().map(str::to_owned);
        if of_song.is_some() {
            wait_for(&server, "/song.mp3", "dc.title", of_song);
        }
        assert_eq!(
            (title("/song.mp3").as_deref(), title("/talk").as_deref()),
            (of_song, of_talk),
            "{sources}"
        );
        server.terminate();
    }
    let run = Pdtpd::run(&["serve", served.path().to_str().unwrap(), "--metadata", "some"]);
    assert_eq!(run.code(), 2);
}

#[test]
fn stat_tells_it_in_words() {
    let served = scratch();
    write(served.path(), "song.mp3", song("Title"));
    let server = Pdtpd::start(served.path(), NONE);
    wait_for(&server, "/song.mp3", "dc.title", Some("Title"));
    let text = pdtp(&["stat", &server.uri("/song.mp3")]).expect(0).text();
    for part in ["Title:   Title", "Creator: Ada", "Media:   mp3, 44100 Hz, stereo, 1", "128 kbit/s"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn ls_shows_what_meets_the_conditions() {
    let served = make_tree(&[("other", 3000), ("dir/x", 1)]);
    write(served.path(), "song.mp3", song("Prelude"));
    write(served.path(), "wide.png", png(1920, 1080));
    write(served.path(), "small.png", png(64, 64));
    let server = Pdtpd::start(served.path(), NONE);
    wait_until("all are looked at", PATIENCE, || !get_rdl(&server, "/").1.contains("described="));
    let names = |conditions: &[&str]| {
        let mut args = vec!["ls".to_owned(), server.uri("/")];
        conditions.iter().for_each(|condition| args.extend(["--where".to_owned(), (*condition).to_owned()]));
        pdtp(&args).expect(0).text().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&["dc.title=Prelude"]), "song.mp3");
    assert_eq!(names(&["dc.creator~ADA"]), "song.mp3");
    assert_eq!(names(&["media.width>=1920"]), "wide.png");
    assert_eq!(names(&["media.width<1920", "media.height>1"]), "small.png");
    assert_eq!(names(&["dc.title!=Prelude", "type=file"]), "other small.png wide.png");
    assert_eq!(names(&["size>2K", "size<4K"]), "other");
    assert_eq!(names(&["mime=image/png"]), "small.png wide.png");
    assert_eq!(names(&["dc.title=nothing"]), "");
    let run = pdtp(&["ls", "--json", "--where", "dc.title~pre", &server.uri("/")]).expect(0);
    let line = objects(&run).remove(0);
    assert_eq!((&line["name"], &line["metadata"]["dc.title"][0]), (&"song.mp3".into(), &"Prelude".into()));
    let wrong = pdtp(&["ls", "--where", "title=x", &server.uri("/")]);
    assert_eq!(wrong.code(), 2);
}

/// Runs of the server's child that reads files.
fn helpers(server: &Pdtpd) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).into_iter().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    children
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
#[cfg(target_os = "linux")]
fn files_that_mean_no_good_cost_themselves_their_metadata_and_nothing_else() {
    let served = scratch();
    let at = served.path();
    let good = song("good");
    // Everything claims to be larger than it is, or is cut, or has its bits turned.
    for (index, seed) in
        [&good, &png(1, 1), &epub(&sidecar("<dc:title>T</dc:title>"))].into_iter().enumerate()
    {
        for step in 0..40 {
            let mut bad = seed.clone();
            let place = (step * 131) % bad.len().min(200);
            bad[place] ^= 1 << (step % 8);
            bad.truncate(if step % 3 == 0 { bad.len() * (step + 1) / 41 } else { bad.len() });
            write(at, &format!("bad-{index}-{step}.mp3"), bad);
        }
    }
    let huge = |kind: &[u8]| [kind, &[0xff; 64]].concat();
    write(
        at,
        "huge.mp4",
        [b"\0\0\0\x18ftypisom\0\0\0\0isomisom".as_slice(), &huge(b"\xff\xff\xff\xf0moov")].concat(),
    );
    write(
        at,
        "endless.mp4",
        [b"\0\0\0\x18ftypisom\0\0\0\0isomisom".as_slice(), &b"\0\0\0\x08free".repeat(50_000)].concat(),
    );
    write(at, "huge.mkv", huge(b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe"));
    write(at, "huge.mp3", huge(b"ID3\x04\0\0\x7f\x7f\x7f\x7fTIT2\x7f\x7f\x7f\x7f\0\0\x03"));
    write(at, "huge.flac", huge(b"fLaC\x84\xff\xff\xff\xff\xff\xff\x7f"));
    write(at, "huge.ogg", huge(b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff"));
    // A megabyte that says it is a gigabyte of XML.
    write(at, "bomb.epub", epub(&format!("<p>{}", " ".repeat(8 << 20))));
    let server = Pdtpd::start(at, NONE);
    wait_until("all are looked at", Duration::from_secs(120), || {
        !get_rdl(&server, "/").1.contains("described=")
    });
    // Whatever became of those: the next file is read as ever.
    write(at, "good.mp3", &good);
    wait_for(&server, "/good.mp3", "dc.title", Some("good"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_helper_that_hangs_is_killed_and_holds_nobody_up() {
    let served = scratch();
    write(served.path(), "first.mp3", song("first"));
    let mut server = Pdtpd::start(served.path(), NONE);
    wait_for(&server, "/first.mp3", "dc.title", Some("first"));
    let [helper] = helpers(&server)[..] else { panic!("one helper is expected: {:?}", helpers(&server)) };
    // It has next to nothing.
    let limits = std::fs::read_to_string(format!("/proc/{helper}/limits")).unwrap();
    for (name, most) in [("Max address space", "805306368"), ("Max open files", "3"), ("Max file size", "0")]
    {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line[name.len()..].split_whitespace().next() == Some(most), "{line}");
    }
    // What a parser that never ends looks like from outside.
    assert_eq!(unsafe { libc::kill(helper, libc::SIGSTOP) }, 0);
    write(served.path(), "second.mp3", song("second"));
    // Everything else goes on.
    let here = scratch();
    pdtp_in(here.path(), &["get", &server.uri("/second.mp3")]).expect(0);
    assert!(pdtp(&["ls", "--rdl", &server.uri("/")]).expect(0).text().contains("second.mp3"));
    // And after its time is up, another helper does it.
    wait_for(&server, "/second.mp3", "dc.title", Some("second"));
    let [other] = helpers(&server)[..] else { panic!("one helper is expected: {:?}", helpers(&server)) };
    assert_ne!(helper, other);
    // Killed by somebody else, it is replaced at once.
    assert_eq!(unsafe { libc::kill(other, libc::SIGKILL) }, 0);
    write(served.path(), "third.mp3", song("third"));
    wait_for(&server, "/third.mp3", "dc.title", Some("third"));
    // And it does not outlive the server, even one that cannot say goodbye.
    let [last] = helpers(&server)[..] else { panic!("one helper is expected: {:?}", helpers(&server)) };
    server.kill9();
    // Whether somebody takes note of its end is not for us to say.
    wait_until("the helper is gone", PATIENCE, || {
        std::fs::read_to_string(format!("/proc/{last}/status"))
            .map_or(true, |text| text.contains("State:\tZ"))
    });
}

#[test]
fn c_programs_see_it() {
    let served = scratch();
    write(served.path(), "song", b"la");
    let elements = "<dc:title>T &amp; T</dc:title><dc:creator>A</dc:creator><dc:creator>B</dc:creator>";
    write(served.path(), "song.dc.xml", sidecar(elements));
    let server = Pdtpd::start(served.path(), NONE);
    wait_for(&server, "/song", "dc.title", Some("T & T"));
    c::compile("cc", "tests/c/rich.c").run(&[server.uri("/")]).expect(0);
}
