use proptest::prelude::*;

use super::*;
use crate::wire::{
    About, Attribute, AttributeError, AttributeKind, Attributes, Digest, Entry, EntryKind, SignedBy, UrlPath,
    is_xml_char, limits,
};

fn document(path: &UrlPath, entries: &[Entry]) -> String {
    let lines = entries.iter().map(|each| entry(&relative(each), each));
    begin(path) + &lines.collect::<String>() + end()
}

/// The percent-encoded path of an entry.
fn relative(entry: &Entry) -> String {
    entry.path.clone().unwrap_or_else(|| {
        let parts = entry.name.split('/').map(str::as_bytes);
        UrlPath::from_components(parts).unwrap().as_str()[1..].to_owned()
    })
}

fn around(body: &str) -> String {
    format!("<listing xmlns=\"{NAMESPACE}\" xmlns:dc=\"{DUBLIN_CORE}\" path=\"/\">{body}</listing>")
}

fn problem(text: &str) -> XmlProblem {
    parse(text).expect_err(text).problem
}

/// Any character that XML allows, the awkward ones often.
fn xml_char() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => prop::sample::select(vec!['<', '>', '&', '\'', '"', '\r', '\n', '\t', ' ', ']', '\u{85}', '\u{2028}']),
        1 => prop::sample::select(vec!['\u{fffd}', '\u{d7ff}', '\u{e000}', '\u{10ffff}', '\u{7f}', '\u{feff}']),
        5 => any::<char>().prop_filter("XML", |c| is_xml_char(*c)),
    ]
}

fn value(attribute: Attribute) -> BoxedStrategy<String> {
    match attribute.kind() {
        AttributeKind::Text => {
            prop::collection::vec(xml_char(), 1..40).prop_map(|all| all.into_iter().collect()).boxed()
        }
        AttributeKind::Count => any::<u64>().prop_map(|number| number.to_string()).boxed(),
        AttributeKind::Decimal => (any::<u32>(), any::<u16>()).prop_map(|(a, b)| format!("{a}.{b}")).boxed(),
    }
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let one = prop::sample::select(Attribute::ALL).prop_flat_map(|a| (Just(a), value(a)));
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let mut attributes = Attributes::default();
        all.iter().for_each(|(attribute, value)| attributes.add(*attribute, value).unwrap());
        attributes
    })
}

/// Names as a disk has them: any bytes.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..30)
        .prop_filter("a name", |name| UrlPath::root().join(name).is_ok_and(|path| !path.is_root()))
}

prop_compose! {
    fn any_entry()(
        names in prop::collection::vec(name(), 1..3),
        is_file in any::<bool>(),
        (size, piece, root) in (any::<u64>(), prop::option::of(1u32..), prop::option::of(any::<[u8; 32]>())),
        mtime in prop::option::of(0i64..253_402_300_799),
        signed in prop::option::of(prop::option::of(any::<bool>())),
        attributes in attributes(),
        is_pending in any::<bool>(),
    ) -> Entry {
        let raw = names.join(&b'/');
        let path = UrlPath::from_components(names.iter().map(Vec::as_slice)).unwrap();
        let exact = path.as_str()[1..].to_owned();
        Entry {
            path: std::str::from_utf8(&raw).is_err().then_some(exact),
            name: String::from_utf8_lossy(&raw).into_owned(),
            kind: if is_file { EntryKind::File } else { EntryKind::Dir },
            size: if is_file { size } else { 0 },
            mtime,
            root: root.map(Digest),
            chunk_size: piece,
            mime: attributes.get(Attribute::Format).map(str::to_owned),
            signed: signed.is_some(),
            signed_by: signed.flatten().map(|by| if by { SignedBy::Publisher } else { SignedBy::Server }),
            about: Some(Box::new(About { attributes, is_pending })),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(entries in prop::collection::vec(any_entry(), 0..6), dir in name()) {
        let path = UrlPath::root().join(&dir).unwrap();
        let text = document(&path, &entries);
        prop_assert!(text.chars().all(is_xml_char));
        prop_assert_eq!(parse(&text), Ok(Document { path, entries }));
    }

    #[test]
    fn nothing_panics(text in "\\PC*") {
        let _ = parse(&text);
        let _ = parse_dublin_core(&text);
    }

    #[test]
    fn nothing_that_was_cut_or_changed_panics(
        entries in prop::collection::vec(any_entry(), 1..3),
        at in any::<prop::sample::Index>(),
        with in "[<>&;/ a\"'\\]!?-]{0,4}",
    ) {
        let mut text = document(&UrlPath::root(), &entries);
        let mut cut = at.index(text.len());
        while !text.is_char_boundary(cut) { cut -= 1; }
        prop_assert!(parse(&text[..cut]).is_err() || text[cut..].trim().is_empty());
        text.insert_str(cut, &with);
        if let Ok(read) = parse(&text) {
            let again = document(&read.path, &read.entries);
            prop_assert_eq!(parse(&again), Ok(read));
        }
    }
}

#[test]
fn what_comes_without_attributes_has_its_type_as_one() {
    let plain = Entry { name: "a".into(), mime: Some("text/plain".into()), ..Entry::default() };
    let read = parse(&document(&UrlPath::root(), &[plain])).unwrap();
    assert_eq!(read.entries[0].mime.as_deref(), Some("text/plain"));
    assert_eq!(read.entries[0].about.as_ref().unwrap().attributes.get(Attribute::Format), Some("text/plain"));
}

#[test]
fn names_that_xml_cannot_write_are_exact_in_the_path() {
    let odd = Entry { name: "a\u{1}\u{ffff}b".into(), ..Entry::default() };
    let text = document(&UrlPath::root(), std::slice::from_ref(&odd));
    assert!(
        text.contains("<name>a\u{fffd}\u{fffd}b</name>") && text.contains("path=\"a%01%EF%BF%BFb\""),
        "{text}"
    );
    assert_eq!(parse(&text).unwrap().entries[0].name, odd.name);
}

#[test]
fn what_is_not_known_is_passed_over() {
    let text = around(
        "<note xmlns=\"urn:other\">text <b>and <i/> more</b></note>\
         <file path=\"a\" new=\"1\"><colour depth=\"2\">red<x/></colour><size> 5 </size>\
         <o:x xmlns:o=\"urn:o\">words</o:x><signed by=\"angels\"/><dc:title>T</dc:title></file>",
    );
    let read = parse(&text).unwrap();
    assert_eq!((read.entries.len(), read.entries[0].size, read.entries[0].signed), (1, 5, true));
}

#[test]
fn a_billion_laughs_cost_nothing() {
    let mut laughs = String::from("<!DOCTYPE lolz [<!ENTITY lol \"lol\">");
    for n in 1..10 {
        laughs += &format!("<!ENTITY lol{n} \"{}\">", format!("&lol{};", n - 1).repeat(10));
    }
    let text = format!("<?xml version=\"1.0\"?>{laughs}]>{}", around("<file path=\"&lol9;\"/>"));
    assert_eq!(problem(&text), XmlProblem::Doctype);
    assert_eq!(parse_dublin_core(&text).unwrap_err().problem, XmlProblem::Doctype);
    // And without the DTD the entity is none.
    let text = around("<file path=\"a\"><size>1</size><dc:title>&lol9;</dc:title></file>");
    assert_eq!(problem(&text), XmlProblem::Entity("lol9".to_owned()));
    let outside = "<!DOCTYPE d SYSTEM \"file:///etc/passwd\"><d/>";
    assert_eq!(problem(outside), XmlProblem::Doctype);
}

#[test]
fn errors_say_where() {
    let text = around("\n<file path=\"a\">\n <size>1</size>\n é<dc:title>&x;</dc:title></file>");
    let error = parse(&text).unwrap_err();
    // Text begins where the tag before it ends.
    assert_eq!((error.line, error.column), (3, 16));
    let text = around("\n<file path=\"a\">\n <size>1</size>\n <dc:title>é&x;</dc:title></file>");
    assert_eq!(parse(&text).unwrap_err().to_string(), "line 4, column 13: the entity &x; is not allowed");
}

#[test]
fn hostile_documents_end_where_they_become_hostile() {
    let title =
        |inner: &str| around(&format!("<file path=\"a\"><size>1</size><dc:title>{inner}</dc:title></file>"));
    // What is met only after all of it was read would be found behind it.
    let flood = "x".repeat(500_000);
    let begin = around("").find("</").unwrap();
    for (what, text, problem, at) in [
        ("a DTD", format!("<!DOCTYPE a [{flood}]>{}", around("")), XmlProblem::Doctype, 0),
        ("a DTD inside", around(&format!("<!DOCTYPE a [{flood}]>")), XmlProblem::Doctype, begin),
        (
            "many levels",
            around(&format!("<file path=\"a\"><size>1</size>{}", "<x>".repeat(100_000))),
            XmlProblem::Depth,
            begin + 29 + 3 * (limits::MAX_XML_DEPTH - 2),
        ),
        (
            "an attribute without end",
            around(&format!("<dir path=\"{flood}\"/>")),
            XmlProblem::Text(limits::MAX_XML_VALUE),
            begin,
        ),
        ("an entity", title(&format!("&a;{flood}")), XmlProblem::Entity("a".to_owned()), begin + 39),
    ] {
        let error = parse(&text).expect_err(what);
        assert_eq!(error.problem, problem, "{what}");
        assert_eq!((error.line, error.column), (1, at + 1), "{what}");
    }
    let error = text_of(b"<a>\n \xc3\xa9<b>\xff</b></a>").unwrap_err();
    assert_eq!((error.problem, error.line, error.column), (XmlProblem::Encoding, 2, 6));
    // What only looks like markup is text, and what only looks like text is none.
    let read = parse(&title("<![CDATA[<!DOCTYPE a>&lol;]]>")).unwrap();
    let about = read.entries[0].about.as_ref().unwrap();
    assert_eq!(about.attributes.get(Attribute::Title), Some("<!DOCTYPE a>&lol;"));
    let read = parse(&title("<?php &x; ?>T<?xml-stylesheet href='file:///etc/passwd'?>")).unwrap();
    assert_eq!(read.entries[0].about.as_ref().unwrap().attributes.get(Attribute::Title), Some("T"));
    // Cut anywhere, it is an error that says where, and never half a listing.
    let whole = title("é &amp; <![CDATA[x]]><!-- c -->");
    for (at, _) in whole.char_indices() {
        let error = parse(&whole[..at]).expect_err(&whole[..at]);
        assert!(error.line == 1 && error.column <= at + 1, "{at}: {error}");
    }
    parse(&whole).unwrap();
}

#[test]
fn everything_has_a_bound() {
    let file = |inner: &str| around(&format!("<file path=\"a\"><size>1</size>{inner}</file>"));
    let title = |length| file(&format!("<dc:title>{}</dc:title>", "x".repeat(length)));
    parse(&title(limits::MAX_ATTRIBUTE_TEXT)).unwrap();
    assert_eq!(problem(&title(limits::MAX_ATTRIBUTE_TEXT + 1)), XmlProblem::Text(limits::MAX_ATTRIBUTE_TEXT));

    // The listing, the file, and so many more.
    let deep = |levels: usize| file(&format!("{}{}", "<x>".repeat(levels), "</x>".repeat(levels)));
    parse(&deep(limits::MAX_XML_DEPTH - 2)).unwrap();
    assert_eq!(problem(&deep(limits::MAX_XML_DEPTH - 1)), XmlProblem::Depth);
    assert_eq!(problem(&"<x>".repeat(100_000)), XmlProblem::Root("RDL listing"));

    let wide = |count: usize| {
        let all: String = (0..count).map(|n| format!(" a{n}=\"\"")).collect();
        file(&format!("<x{all}/>"))
    };
    parse(&wide(limits::MAX_XML_ATTRIBUTES)).unwrap();
    assert_eq!(problem(&wide(limits::MAX_XML_ATTRIBUTES + 1)), XmlProblem::Attributes);

    let long = |length: usize| file(&format!("<x a=\"{}\"/>", "v".repeat(length)));
    parse(&long(limits::MAX_XML_VALUE)).unwrap();
    assert_eq!(problem(&long(limits::MAX_XML_VALUE + 1)), XmlProblem::Text(limits::MAX_XML_VALUE));

    let many = |count: usize| around(&"<dir path=\"a\"/>".repeat(count));
    parse(&many(limits::MAX_LIST_ENTRIES)).unwrap();
    assert_eq!(problem(&many(limits::MAX_LIST_ENTRIES + 1)), XmlProblem::Entries);

    let values = |count: usize| file(&"<dc:subject>s</dc:subject>".repeat(count));
    parse(&values(limits::MAX_ATTRIBUTES)).unwrap();
    assert_eq!(
        problem(&values(limits::MAX_ATTRIBUTES + 1)),
        XmlProblem::Attribute("dc.subject", AttributeError::TooMany)
    );

    let padded = |length: usize| {
        let bare = around("");
        format!("{bare}{}", " ".repeat(length - bare.len()))
    };
    parse(&padded(limits::MAX_XML)).unwrap();
    assert_eq!(problem(&padded(limits::MAX_XML + 1)), XmlProblem::TooLong);
}

#[test]
fn what_is_no_xml_is_refused() {
    for broken in [
        "",
        "x",
        "<listing",
        &around("<dir path=\"a\">"),
        &around("<dir path='a'></file>"),
        &around("<dir path='a' path='b'/>"),
        &around("<dir path='a' b=c/>"),
        &around("<q:dir path='a'/>"),
        &around("<1dir path='a'/>"),
        &around("<a:b:c path='a'/>"),
        &around("<dir path='a<b'/>"),
        &around("<dir path='a'/>]]>"),
        &around("<!-- a -- b -->"),
        &around("text"),
        &around("&lt;"),
        &around("<dir path='a&#0;'/>"),
        &around("<dir path='a&#1;'/>"),
        &around("<dir path='a&#xD800;'/>"),
        &around("<dir path='a'><dc:title>&#xFFFE;</dc:title></dir>"),
        &around("<dir path='a'><dc:title>a\u{1}</dc:title></dir>"),
        &around("<dir path='a'><dc:title><b/></dc:title></dir>"),
        &format!("{}{}", around(""), around("")),
        &format!("{}text", around("")),
        &format!("{}&#32;", around("")),
        &format!("<![CDATA[ ]]>{}", around("")),
        &format!("<?xml version='1.1'?>{}", around("")),
        &format!("<?xml version='1.0' encoding='latin1'?>{}", around("")),
        &format!(" <?xml version='1.0'?>{}", around("")),
    ] {
        assert!(parse(broken).is_err(), "{broken}");
    }
    let good =
        format!("\u{feff}<?xml version='1.0' encoding='utf-8'?><!-- c --><?p i?>{}<!---->", around(""));
    parse(&good).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused() {
    for broken in [
        "<listing xmlns=\"urn:pdtp:rdl:2\" path=\"/\"/>",
        "<listing path=\"/\"/>",
        "<listing xmlns=\"urn:pdtp:rdl:1\"/>",
        "<listing xmlns=\"urn:pdtp:rdl:1\" path=\"/../x\"/>",
        &around("<file><size>1</size></file>"),
        &around("<file path=\"a\"/>"),
        &around("<file path=\"../a\"><size>1</size></file>"),
        &around("<file path=\"/a\"><size>1</size></file>"),
        &around("<file path=\"a\"><size>-1</size></file>"),
        &around("<file path=\"a\"><size>1</size><size>1</size></file>"),
        &around("<file path=\"a\"><size>1</size><modified>yesterday</modified></file>"),
        &around("<file path=\"a\"><size>1</size><root>00</root></file>"),
        &around("<file path=\"a\"><size>1</size><pieces size=\"0\" count=\"0\"/></file>"),
        &around("<file path=\"a\"><size>9</size><pieces size=\"4\" count=\"2\"/></file>"),
        &around("<file path=\"a\"><size>1</size><signed/><signed/></file>"),
        &around("<file path=\"a\"><size>1</size><width>wide</width></file>"),
        &around("<file path=\"a\"><size>1</size><dc:colour>red</dc:colour></file>"),
        &around("<dir path=\"a\"><size>1</size></dir>"),
    ] {
        assert!(parse(broken).is_err(), "{broken}");
    }
}

#[test]
fn sidecars_in_all_wrappings() {
    let dc = "xmlns:dc=\"http://purl.org/dc/elements/1.1/\"";
    let inner = "<dc:title xml:lang=\"en\">\n A &amp; B\n</dc:title><dc:creator>x</dc:creator><dc:creator>y</dc:creator>\
                 <dc:rights/>";
    for text in [
        format!("<metadata {dc}>{inner}</metadata>"),
        format!("<?xml version=\"1.0\"?>\n<d:d xmlns:d=\"urn:oai\" {dc}>{inner}<d:o>text<d:p/></d:o></d:d>"),
        format!("<rdf {dc}><Description about=\"x\">{inner}</Description></rdf>"),
        format!("<package {dc}><metadata>{inner}<meta name=\"a\"/></metadata><spine/></package>"),
    ] {
        let all = parse_dublin_core(&text).expect(&text);
        let shown: Vec<_> = all.iter().map(|(attribute, value)| format!("{attribute}={value}")).collect();
        assert_eq!(shown, ["dc.title=A & B", "dc.creator=x", "dc.creator=y"], "{text}");
    }
    // Another prefix, or none, is as good.
    let other = "<m><title xmlns=\"http://purl.org/dc/elements/1.1/\">T</title></m>";
    assert_eq!(parse_dublin_core(other).unwrap().get(Attribute::Title), Some("T"));
    for broken in [
        "",
        "<a>",
        "<a/><b/>",
        "not XML",
        &format!("<dc:title {dc}>T</dc:title>"),
        &format!("<m {dc}><dc:name>T</dc:name></m>"),
        &format!("<m {dc}><dc:title>a<b/></dc:title></m>"),
    ] {
        assert!(parse_dublin_core(broken).is_err(), "{broken}");
    }
}
