//! `Accept`, RFC 9110 section 12.5.1.

use crate::content::rdl;
use crate::peer::head::Fields;

/// As what a directory is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Html,
    Json,
    Rdl,
}

/// What is wanted most. Who does not care gets HTML, and who takes any application data JSON.
pub(super) fn preferred(fields: &Fields) -> Form {
    let ranges: Vec<(&str, f32)> = fields
        .0
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
        .flat_map(|(_, value)| value.split(','))
        .filter_map(media_range)
        .collect();
    let weight = |media| quality(&ranges, media);
    let (html, json, rdl) = (weight("text/html"), weight("application/json"), weight(rdl::MEDIA_TYPE));
    match () {
        _ if rdl > html && rdl > json => Form::Rdl,
        // Equals, and one of them was named.
        _ if rdl > html && rdl == json && ranges.iter().any(|(range, _)| is_rdl(range)) => Form::Rdl,
        _ if json > html => Form::Json,
        _ => Form::Html,
    }
}

fn is_rdl(range: &str) -> bool {
    range.eq_ignore_ascii_case(rdl::MEDIA_TYPE)
}

/// A media range and its weight; parameters of the type are not looked at.
fn media_range(item: &str) -> Option<(&str, f32)> {
    let mut parts = item.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?;
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim_end().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    match weight.map(str::parse::<f32>) {
        None => Some((range, 1.0)),
        Some(Ok(q)) if (0.0..=1.0).contains(&q) => Some((range, q)),
        Some(_) => None,
    }
}

/// The weight that the most specific range gives to `media`; 0 = not wanted.
fn quality(ranges: &[(&str, f32)], media: &str) -> f32 {
    let group = media.split_once('/').map_or(media, |(group, _)| group);
    let weight_of = |wanted: &str| {
        ranges
            .iter()
            .filter(|(range, _)| range.eq_ignore_ascii_case(wanted))
            .map(|(_, q)| *q)
            .reduce(f32::max)
    };
    weight_of(media).or_else(|| weight_of(&format!("{group}/*"))).or_else(|| weight_of("*/*")).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdl_for_who_asks_for_it() {
        for (accept, form) in [
            ("application/rdl+xml", Form::Rdl),
            ("application/rdl+xml, application/json;q=0.5, */*;q=0.1", Form::Rdl),
            ("application/rdl+xml;q=0.5, application/json", Form::Json),
            ("application/rdl+xml;q=0.5, text/html", Form::Html),
            ("application/*", Form::Json),
            ("application/xml", Form::Html),
        ] {
            let fields = Fields(vec![("Accept".into(), accept.into())]);
            assert_eq!(preferred(&fields), form, "{accept}");
        }
    }

    #[test]
    fn json_or_html() {
        for (accept, json) in [
            ("application/json", true),
            ("APPLICATION/JSON; q=0.1", true),
            ("application/*", true),
            ("*/*", false),
            ("", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("text/html, application/json", false),
            ("text/html;q=0.5, application/json;q=0.6", true),
            ("text/html;q=0.5, */*", true),
            ("application/json;q=0, */*", false),
            ("application/json;q=nan, */*", false),
            ("application/json;q=7", false),
            ("image/png", false),
        ] {
            let fields = Fields(vec![("Accept".into(), accept.into())]);
            assert_eq!(preferred(&fields) == Form::Json, json, "{accept}");
        }
        assert_eq!(preferred(&Fields::default()), Form::Html);
    }
}
