//! Whatever people and strangers write for a file: paths, URIs, URLs in messages.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pdtp::wire::{PdtpUri, UrlPath, file_url, limits, path_of_url};

fuzz_target!(|data: &[u8]| {
    // File names as a disk has them, cut at slashes.
    if let Ok(path) = UrlPath::from_components(data.split(|b| *b == b'/')) {
        check(&path);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(path) = UrlPath::parse(text) {
        check(&path);
    }
    if let Ok(uri) = text.parse::<PdtpUri>() {
        check(&uri.path);
        let shown = uri.to_string();
        // Percent-encoding can make it longer than a URI may be.
        if shown.len() <= limits::MAX_URL {
            assert_eq!(shown.parse(), Ok(uri));
        }
    }
    if let Ok(path) = path_of_url(text) {
        check(&path);
    }
});

fn check(path: &UrlPath) {
    let text = path.as_str();
    assert!(text.len() <= limits::MAX_URL && text.bytes().all(|b| b.is_ascii_graphic()));
    assert_eq!(UrlPath::parse(text).as_ref(), Ok(path));
    let names: Vec<_> = path.components().collect();
    for name in &names {
        assert!(!matches!(&name[..], b"" | b"." | b".."));
        assert!(name.len() <= limits::MAX_COMPONENT && !name.contains(&0) && !name.contains(&b'/'));
    }
    assert_eq!(UrlPath::from_components(names.iter().map(Vec::as_slice)).as_ref(), Ok(path));
    if let Some(parent) = path.parent() {
        assert!(path.is_under(&parent) && !parent.is_under(path));
        assert_eq!(parent.join(&path.file_name()).as_ref(), Ok(path));
    }
    let url = file_url("h", path);
    if url.len() <= limits::MAX_URL {
        assert_eq!(path_of_url(&url).as_ref(), Ok(path));
    }
}
