//! Metadata in extended attributes, as freedesktop.org has them: `user.dublincore.*`, `user.mime_type`, `user.xdg.*`.

use std::fs::File;

use crate::wire::{Attribute, Attributes};

/// Names besides those of Dublin Core itself.
#[cfg(unix)]
const NAMES: [(&str, Attribute); 8] = [
    ("user.mime_type", Attribute::Format),
    ("user.xdg.comment", Attribute::Description),
    ("user.xdg.creator", Attribute::Creator),
    ("user.xdg.publisher", Attribute::Publisher),
    ("user.xdg.language", Attribute::Language),
    ("user.xdg.origin.url", Attribute::Source),
    ("user.xdg.tags", Attribute::Subject),
    ("user.creator", Attribute::Creator),
];

/// What is attached to a file. What is no UTF-8 is left out.
#[cfg(unix)]
pub(super) fn read(file: &File) -> Attributes {
    use xattr::FileExt as _;

    const DUBLIN_CORE: &str = "user.dublincore.";
    // File systems that have none say so by an error.
    let (mut all, mut others) = (Attributes::default(), Attributes::default());
    let Ok(names) = file.list_xattr() else { return all };
    for name in names {
        let Some(text) = name.to_str() else { continue };
        let of_ours = text.strip_prefix(DUBLIN_CORE).and_then(|element| Attribute::of_element(true, element));
        let of_others = || NAMES.iter().find(|(other, _)| *other == text).map(|(_, attribute)| *attribute);
        let Some(attribute) = of_ours.or_else(of_others) else { continue };
        let Ok(Some(value)) = file.get_xattr(&name) else { continue };
        let Ok(value) = String::from_utf8(value) else { continue };
        let value = value.trim_end_matches('\0');
        match (text, of_ours) {
            (_, Some(_)) => all.add_lossy(attribute, value),
            ("user.xdg.origin.url", _) => others.add_lossy(attribute, without_secrets(value)),
            ("user.xdg.tags", _) => value.split(',').for_each(|tag| others.add_lossy(attribute, tag)),
            _ => others.add_lossy(attribute, value),
        }
    }
    all.complete_with(&others);
    all
}

/// Elsewhere files have no such attributes.
#[cfg(not(unix))]
pub(super) fn read(_: &File) -> Attributes {
    Attributes::default()
}

/// Programs that download note the URL by themselves, and nobody thinks of the password or token in it.
#[cfg(unix)]
fn without_secrets(url: &str) -> &str {
    let url = &url[..url.find(['?', '#']).unwrap_or(url.len())];
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let has_user = host.split('/').next().is_some_and(|authority| authority.contains('@'));
    if has_user { "" } else { url }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_what_may_be_secret() {
        assert_eq!(without_secrets("https://h/a?token=1#x"), "https://h/a");
        assert_eq!(without_secrets("https://me:pass@h/a"), "");
        assert_eq!(without_secrets("https://h/a@b"), "https://h/a@b");
    }
}
