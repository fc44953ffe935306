use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::hub::HubConfig;
use crate::peer::head::Fields;
use crate::peer::serve::Body;
use crate::wire::Listing;

const TIME: &str = "Sun, 09 Sep 2001 01:46:40 GMT";

struct Site {
    dir: tempfile::TempDir,
    face: Face,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = HubConfig { follow_symlinks: true, ..HubConfig::default() };
        let hub = Hub::open(dir.path(), config).unwrap();
        let face = Face::new(hub, "files.example.org".into(), RateLimiter::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { dir, face, runtime }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    /// A file that is hashed; its root.
    fn write_hashed(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        self.write(name, content);
        let path = UrlPath::parse(&format!("/{name}")).unwrap();
        let version = self.runtime.block_on(self.face.hub.version(&path, |_, _| {})).unwrap();
        version.root().to_string()
    }

    fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let head = RequestHead {
            method: method.into(),
            target: target.into(),
            fields: Fields(fields),
            ..RequestHead::default()
        };
        let response = self.runtime.block_on(self.face.answer(&head, [127, 0, 0, 1].into()));
        assert_eq!(response.fields.get("x-content-type-options"), Some("nosniff"), "{method} {target}");
        let body = match response.body {
            Body::Empty => Vec::new(),
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Stream(_) => unreachable!("files are on this machine"),
            Body::File(span, _) => {
                let mut bytes = vec![0; span.len as usize];
                span.file.read_exact_at(&mut bytes, span.offset).unwrap();
                bytes
            }
        };
        Answer { status: response.status, fields: response.fields, body }
    }

    fn get(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("GET", target, fields)
    }
}

struct Answer {
    status: u16,
    fields: Fields,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_default()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

#[test]
fn a_hashed_file_has_the_root_as_tag() {
    let site = Site::new();
    let root = site.write_hashed("dir/a.txt", "hello");
    let answer = site.get("/dir/a.txt", &[]);
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    assert_eq!(answer.field("etag"), format!("\"{root}\""));
    assert_eq!(answer.field("last-modified"), TIME);
    assert_eq!(answer.field("accept-ranges"), "bytes");
    assert_eq!(answer.field("content-type"), "text/plain; charset=utf-8");
    // printf hello | openssl dgst -sha256 -binary | base64
    assert_eq!(answer.field("repr-digest"), "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:");
}

#[test]
fn a_file_not_yet_hashed_is_served_at_once() {
    let site = Site::new();
    fs::File::create(site.path("huge.iso")).unwrap().set_len(1 << 42).unwrap();
    let answer = site.get("/huge.iso", &[("Range", "bytes=-3")]);
    assert_eq!((answer.status, answer.body.as_slice()), (206, &[0; 3][..]));
    assert_eq!(answer.field("content-range"), "bytes 4398046511101-4398046511103/4398046511104");
    assert!(answer.field("etag").starts_with("W/\"40000000000-"), "{}", answer.field("etag"));
    assert_eq!(answer.field("repr-digest"), "");
    let tag = answer.field("etag").to_owned();
    assert_eq!(site.get("/huge.iso", &[("If-None-Match", &tag)]).status, 304);
    assert_eq!(site.get("/huge.iso", &[("If-Match", &tag)]).status, 412);
}

#[test]
fn ranges() {
    let site = Site::new();
    site.write_hashed("f", "0123456789");
    site.write_hashed("empty", "");
    for (range, status, content_range, body) in [
        ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("bytes=5-99", 206, "bytes 5-9/10", "56789"),
        ("bytes=0-0,4-5", 206, "bytes 0-0/10", "0"),
        ("bytes=10-", 416, "bytes */10", "the file has no such bytes\n"),
        ("bytes=3-1", 200, "", "0123456789"),
        ("lines=1-2", 200, "", "0123456789"),
    ] {
        let answer = site.get("/f", &[("Range", range)]);
        assert_eq!((answer.status, answer.field("content-range")), (status, content_range), "{range}");
        assert_eq!(answer.text().trim_end(), body.trim_end(), "{range}");
    }
    assert_eq!(site.ask("HEAD", "/f", &[("Range", "bytes=0-3")]).status, 200, "ranges are for GET");
    let empty = site.get("/empty", &[("Range", "bytes=0-")]);
    assert_eq!((empty.status, empty.field("content-range")), (416, "bytes */0"));
    assert_eq!(site.get("/empty", &[]).status, 200);
}

#[test]
fn conditions() {
    let site = Site::new();
    let tag = format!("\"{}\"", site.write_hashed("f", "0123456789"));
    let fresh = site.get("/f", &[("If-None-Match", &tag)]);
    assert_eq!((fresh.status, fresh.field("etag"), fresh.field("last-modified")), (304, tag.as_str(), TIME));
    assert!(fresh.body.is_empty());
    assert_eq!(site.ask("HEAD", "/f", &[("If-Modified-Since", TIME)]).status, 304);
    assert_eq!(site.get("/f", &[("If-Match", "\"other\"")]).status, 412);
    assert_eq!(site.get("/f", &[("If-Match", &tag), ("Range", "bytes=1-1")]).status, 206);
    assert_eq!(site.get("/f", &[("If-Range", &tag), ("Range", "bytes=1-1")]).status, 206);
    assert_eq!(site.get("/f", &[("If-Range", TIME), ("Range", "bytes=1-1")]).status, 206);
    let changed = site.get("/f", &[("If-Range", "\"other\""), ("Range", "bytes=1-1")]);
    assert_eq!((changed.status, changed.text()), (200, "0123456789"));
    // A condition is judged before a range is.
    assert_eq!(site.get("/f", &[("If-None-Match", &tag), ("Range", "bytes=99-")]).status, 304);
}

#[test]
fn what_is_not_served() {
    let site = Site::new();
    site.write("f", "x");
    site.write(".hidden", "x");
    fs::create_dir(site.path("dir")).unwrap();
    symlink("/etc/passwd", site.path("out")).unwrap();
    for (method, target, status) in [
        ("GET", "/no", 404),
        ("GET", "/f/", 404),
        ("GET", "/f/x", 404),
        ("GET", "/.hidden", 404),
        ("GET", "/.pdtp/x", 404),
        ("GET", "/out", 403),
        ("GET", "/../etc/passwd", 400),
        ("GET", "/%2e%2e/etc/passwd", 400),
        ("GET", "/dir%2f..%2ff", 400),
        ("GET", "/f%00", 400),
        ("GET", "f", 400),
        ("GET", "/?cursor=../x", 400),
        ("PUT", "/f", 405),
        ("POST", "/", 405),
        ("DELETE", "/f", 405),
        ("OPTIONS", "/f", 204),
        ("GET", "/f?anything", 200),
        ("GET", "//f", 200),
        ("GET", "http://host:1/f", 200),
    ] {
        let answer = site.ask(method, target, &[]);
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(answer.field("allow") == METHODS, matches!(status, 204 | 405), "{method} {target}");
    }
}

#[test]
fn directories_end_in_a_slash() {
    let site = Site::new();
    site.write("a b/c/f", "x");
    let answer = site.get("/a%20b/c?cursor=x", &[]);
    assert_eq!((answer.status, answer.field("location")), (301, "/a%20b/c/?cursor=x"));
    // Not taken for a host.
    assert_eq!(site.get("//a%20b", &[]).field("location"), "/a%20b/");
}

#[test]
fn a_directory_as_html() {
    let site = Site::new();
    site.write("music/a.ogg", vec![0; 2048]);
    site.write("music/live/b.ogg", "");
    let answer = site.get("/music/", &[("Host", "example.org:6086")]);
    assert_eq!((answer.status, answer.field("content-type")), (200, "text/html; charset=utf-8"));
    let page = answer.text();
    for part in [
        "<title>/music on example.org</title>",
        "<h1><a href=\"/\">example.org</a> / <a href=\"/music/\"><bdi>music</bdi></a></h1>",
        "<a href=\"../\">",
        "<a href=\"./a.ogg\"><bdi>a.ogg</bdi></a> <a class=\"m\" href=\"pdtp://example.org/music/a.ogg",
        "\">pdtp</a><td class=\"n\" title=\"2048 bytes\">2.0 KiB",
        "<time datetime=\"2001-09-09T01:46Z\">2001-09-09 01:46</time>",
        "<a href=\"./live/\"><bdi>live</bdi>/</a>",
        "<a href=\"pdtp://example.org/music/\">pdtp://example.org/music/</a>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("<script"));
    let policy = answer.field("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(answer.field("vary"), "Accept");
    assert!(!site.get("/", &[]).text().contains("../"), "there is nothing above the root");
}

#[test]
fn a_directory_is_sorted_by_links() {
    let site = Site::new();
    for (name, size) in [("a", 20), ("b", 3000), ("c", 100)] {
        site.write(name, vec![0; size]);
    }
    let order = |query: &str| {
        let page = site.get(&format!("/{query}"), &[]).text().to_owned();
        let names = page.split("<bdi>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
        (names.collect::<String>(), page)
    };
    let (names, page) = order("");
    assert_eq!(names, "abc");
    assert!(page.contains("<th aria-sort=\"ascending\"><a href=\"?sort=-name\">Name</a>"), "{page}");
    assert!(page.contains("<th class=\"n\"><a href=\"?sort=-size\">Size</a>"), "{page}");
    let (names, page) = order("?sort=-size");
    assert_eq!(names, "bca");
    assert!(page.contains("aria-sort=\"descending\"><a href=\"?sort=size\">Size</a>"), "{page}");
    assert_eq!(order("?sort=size").0, "acb");
    assert_eq!(order("?sort=%3Cscript%3E").0, "abc");
    // More than a page, less than too many: all of it on one.
    for n in 0..1100 {
        site.write(&format!("many/{n}"), vec![0; n % 7]);
    }
    assert_eq!(site.get("/many/?sort=-size", &[]).text().matches("<bdi>").count(), 1101);
    assert!(!site.get("/many/", &[]).text().contains("?sort="), "a part cannot be sorted");
}

#[test]
fn the_style_sheet_is_the_one_the_policy_allows() {
    use base64::Engine as _;
    let site = Site::new();
    let answer = site.get("/", &[]);
    let style = answer.text().split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash =
        base64::engine::general_purpose::STANDARD.encode(crate::content::hash_piece(style.as_bytes()).0);
    assert!(answer.field("content-security-policy").contains(&format!("'sha256-{hash}'")));
}

#[test]
fn the_link_says_host_and_port_as_the_browser_sees_them() {
    let site = Site::new();
    for (host, uri) in [
        (Some("example.org:6086"), "pdtp://example.org/"),
        (Some("example.org"), "pdtp://example.org:80/"),
        (Some("[::1]:7000"), "pdtp://[::1]:7000/"),
        (Some("[::1]"), "pdtp://[::1]:80/"),
        (Some("x\"><script>"), "pdtp://files.example.org/"),
        (Some("user@host"), "pdtp://files.example.org/"),
        (None, "pdtp://files.example.org/"),
    ] {
        let fields: Vec<(&str, &str)> = host.map(|host| ("Host", host)).into_iter().collect();
        let answer = site.get("/", &fields);
        assert!(
            answer.text().contains(&format!("<a href=\"{uri}\">{uri}</a>")),
            "{host:?}: {}",
            answer.text()
        );
    }
}

#[test]
fn hostile_names_are_harmless() {
    let site = Site::new();
    let names: [&[u8]; 7] = [
        b"<script>alert(1)<",
        b"\"onclick=\"x\"",
        b"'single' & more",
        b"javascript:alert(1)",
        b"line\nbreak\x1b[31m",
        b"not utf-8 \xff\xfe<b>",
        "right-to-left \u{202e}gpj.exe".as_bytes(),
    ];
    for name in names {
        fs::write(site.dir.path().join(std::ffi::OsStr::from_bytes(name)), "content").unwrap();
    }
    fs::create_dir(site.path("<i>dir")).unwrap();
    let answer = site.get("/", &[]);
    let page = answer.text();
    for bad in ["<script", "<b>", "<i>", "onclick=\"", "\x1b", "\nbreak", "href=\"javascript"] {
        assert!(!page.contains(bad), "{bad:?} in {page}");
    }
    // Every link leads to what it says.
    let links: Vec<&str> = page
        .split("<a href=\"./")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|link| !link.ends_with('/'))
        .collect();
    assert_eq!(links.len(), names.len());
    for link in links {
        let link = link.replace("&#39;", "'").replace("&amp;", "&");
        let answer = site.get(&format!("/{link}"), &[]);
        assert_eq!((answer.status, answer.text()), (200, "content"), "{link}");
    }
    let inside = site.get("/%3Ci%3Edir/", &[]);
    assert!(!inside.text().contains("<i>"));
}

#[test]
fn a_directory_as_json() {
    let site = Site::new();
    let root = site.write_hashed("a.txt", "hello");
    site.write("sub/deep/f", "x");
    let answer = site.get("/", &[("Accept", "application/json"), ("Host", "example.org:6086")]);
    assert_eq!((answer.status, answer.field("content-type")), (200, "application/json"));
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "url": "http://example.org/",
            "entries": [
                {"name": "a.txt", "type": "file", "size": 5, "mtime": 1_000_000_000, "root": root,
                 "chunk_size": 65_536, "mime": "text/plain"},
                {"name": "sub", "type": "dir", "size": 0, "mtime": json["entries"][1]["mtime"]},
            ],
        })
    );
    let deep = site.get("/?depth=3", &[("Accept", "application/json")]);
    let listing: Listing = serde_json::from_slice(&deep.body).unwrap();
    let names: Vec<_> = listing.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a.txt", "sub", "sub/deep", "sub/deep/f"]);
    assert_eq!(site.get("/?depth=0", &[("Accept", "application/json")]).status, 400);
}

#[test]
fn large_directories_come_in_pages() {
    let site = Site::new();
    for i in 0..2500 {
        fs::write(site.path(&format!("f {i:04}")), "").unwrap();
    }
    for accept in ["text/html", "application/json"] {
        let (mut target, mut seen, mut pages) = ("/".to_owned(), 0, 0);
        loop {
            let answer = site.get(&target, &[("Accept", accept)]);
            assert_eq!(answer.status, 200, "{target}");
            seen += if accept == "text/html" {
                answer.text().matches("<bdi>f ").count()
            } else {
                serde_json::from_slice::<Listing>(&answer.body).unwrap().entries.len()
            };
            pages += 1;
            let link = answer.field("link");
            if link.is_empty() {
                break;
            }
            let next = link.strip_prefix('<').unwrap().split('>').next().unwrap();
            assert_eq!(
                answer.text().contains(&format!("<a href=\"{next}\" rel=\"next\">")),
                accept == "text/html"
            );
            target = format!("/{next}");
        }
        assert_eq!((seen, pages), (2500, 3), "as {accept}");
    }
}
