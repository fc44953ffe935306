//! Heads of HTTP requests and responses, whole and as they come in, and the ranges in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pdtp::peer::head::{RangeRequest, RequestHead, ResponseHead, parse_range};
use pdtp::wire::{UrlPath, limits};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some((head, len))) = RequestHead::parse(data) {
        assert!(len <= data.len() && len <= limits::MAX_HTTP_HEAD);
        assert!(head.fields.0.len() <= limits::MAX_HTTP_FIELDS);
        // What follows the head does not change it, and no part of it is mistaken for the whole.
        assert_eq!(RequestHead::parse(&data[..len]), Ok(Some((head.clone(), len))));
        assert!(!matches!(RequestHead::parse(&data[..len - 1]), Ok(Some(_))));
        let _ = UrlPath::parse(head.path());
        let _ = (head.query(), head.query_value("n"), head.fields.has_word("Connection", "close"));
        for size in [0, 1, 65_536, u64::MAX] {
            if let RangeRequest::Part(range) = parse_range(head.fields.get("Range"), size) {
                assert!(range.start < range.end && range.end <= size);
            }
        }
    }
    if let Ok(Some((head, len))) = ResponseHead::parse(data) {
        assert!(len <= data.len() && len <= limits::MAX_HTTP_HEAD);
        assert_eq!(ResponseHead::parse(&data[..len]), Ok(Some((head, len))));
    }
});
