//! RDL from servers, sidecars with Dublin Core from whoever can write to the served directory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pdtp::content::rdl;
use pdtp::wire::{Entry, UrlPath, is_xml_char, limits};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(all) = rdl::parse_dublin_core(text) {
        assert!(all.len() <= limits::MAX_ATTRIBUTES);
        assert!(all.iter().all(|(attribute, value)| attribute.is_dublin_core() && value.chars().all(is_xml_char)));
    }
    match rdl::parse(text) {
        Ok(read) => {
            assert!(read.entries.len() <= limits::MAX_LIST_ENTRIES);
            let lines: String = read.entries.iter().map(|entry| rdl::entry(&relative(entry), entry)).collect();
            let again = rdl::begin(&read.path) + &lines + rdl::end();
            // Escaping can make it longer than a document may be.
            if again.len() <= limits::MAX_XML {
                assert_eq!(rdl::parse(&again), Ok(read));
            }
        }
        Err(error) => assert!(error.line >= 1 && error.column >= 1 && error.line <= data.len() + 1),
    }
});

fn relative(entry: &Entry) -> String {
    if entry.name.is_empty() {
        return String::new();
    }
    entry.path.clone().unwrap_or_else(|| {
        let path = UrlPath::from_components(entry.name.split('/').map(str::as_bytes)).unwrap();
        path.as_str()[1..].to_owned()
    })
}
