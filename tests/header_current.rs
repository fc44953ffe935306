//! `include/pdtp.h` is what `src/ffi` says. `make header` (PDTP_UPDATE_HEADER=1) makes it anew.

use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What cbindgen makes of one module.
fn section(name: &str) -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let source = root().join(format!("src/ffi/{name}.rs"));
    let bindings = cbindgen::Builder::new().with_config(config).with_src(source).generate().expect(name);
    let mut text = Vec::new();
    bindings.write(&mut text);
    tidy(&String::from_utf8(text).expect("UTF-8"))
}

/// Lines without blanks at their ends, never two empty ones in a row, and comments of one line on one line.
fn tidy(text: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    for line in text.trim().lines().map(str::trim_end) {
        if line.is_empty() && out.last().is_some_and(String::is_empty) {
            continue;
        }
        out.push(line.to_owned());
        if let [.., open, middle, close] = &*out
            && open.trim() == "/**"
            && close.trim() == "*/"
            && let Some((indent, words)) = middle.split_once("* ")
        {
            let short = format!("{}/** {words} */", &indent[..indent.len() - 1]);
            out.truncate(out.len() - 3);
            out.push(short);
        }
    }
    out.join("\n")
}

fn header() -> String {
    let template = std::fs::read_to_string(root().join("src/ffi/pdtp.h.in")).expect("src/ffi/pdtp.h.in");
    let line = |line: &str| match line.strip_prefix("@section ").and_then(|rest| rest.strip_suffix('@')) {
        Some(name) => section(name) + "\n",
        None => format!("{line}\n"),
    };
    template.lines().map(line).collect()
}

#[test]
fn the_checked_in_header_is_current() {
    let path = root().join("include/pdtp.h");
    let made = header();
    if std::env::var_os("PDTP_UPDATE_HEADER").is_some() {
        std::fs::create_dir_all(path.parent().expect("include")).expect("include");
        std::fs::write(&path, &made).expect("write include/pdtp.h");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
    assert!(made == kept, "include/pdtp.h is stale ({differing:?}): run `make header`");
}

/// A module that the template forgets would be in the library and not in the header.
#[test]
fn every_module_with_exported_functions_has_a_section() {
    let template = std::fs::read_to_string(root().join("src/ffi/pdtp.h.in")).expect("src/ffi/pdtp.h.in");
    for entry in std::fs::read_dir(root().join("src/ffi")).expect("src/ffi") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).expect("module");
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("name");
        let exports = path.extension().is_some_and(|e| e == "rs") && text.contains("#[unsafe(no_mangle)]");
        assert!(
            !exports || template.contains(&format!("@section {name}@")),
            "{name} has no section in src/ffi/pdtp.h.in"
        );
    }
}
