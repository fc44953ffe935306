//! `Accept`, RFC 9110 section 12.5.1.

use crate::peer::head::Fields;

/// Whether JSON is wanted rather than HTML. Who does not care gets HTML.
pub(super) fn prefers_json(fields: &Fields) -> bool {
    let ranges: Vec<(&str, f32)> = fields
        .0
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
        .flat_map(|(_, value)| value.split(','))
        .filter_map(media_range)
        .collect();
    quality(&ranges, "application/json") > quality(&ranges, "text/html")
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
            assert_eq!(prefers_json(&fields), json, "{accept}");
        }
        assert!(!prefers_json(&Fields::default()));
    }
}
