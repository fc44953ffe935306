//! Writes a C program that calls every function of the header with everything that it should not be given, by types alone:
//! a function that is new is in it without anybody's doing.

use std::fmt::Write as _;

use crate::abi::Abi;

/// Runs in an empty directory, with the URI of a live server that has `/file.bin`.
const BEFORE: &str = r#"#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <limits.h>

static uint64_t words[512];
static char *const block = (char *)words, long_text[5000];
static const char *function;

/* Whatever it answers, it must not be that something is broken inside. */
static void looked_at(void)
{
    char text[512];
    int code = pdtp_last_error_code();

    if (code == PDTP_E_PANIC || code == PDTP_E_INTERNAL || code == PDTP_E_NO_MEMORY) {
        pdtp_last_error(text, sizeof text);
        fprintf(stderr, "%s: %s\n", function, text);
        abort();
    }
}

int main(int argc, char **argv)
{
    pdtp_config *config = pdtp_config_new();
    pdtp_client *client;
    pdtp_session *session;
    pdtp_request *request;
    pdtp_transfer *transfer;
    pdtp_reader *reader;
    pdtp_share *share;
    pdtp_listing *listing;
    pdtp_resume *resume;
    const pdtp_entry *entry;
    unsigned long calls = 0;

    CHECK(argc == 2);
    memset(long_text, 'x', sizeof long_text - 1);
    CHECK_CODE(pdtp_config_set(config, "grace", "0"), 0);
    CHECK_CODE(pdtp_config_set_dirs(config, ".", "."), 0);
    CHECK_CODE(pdtp_client_new(&client, config), 0);
    CHECK_CODE(pdtp_session_open(&session, client, argv[1], NULL), 0);
    CHECK_CODE(pdtp_request_new(&request, session, "/file.bin"), 0);
    CHECK_CODE(pdtp_download(&transfer, session, "/file.bin", "file", NULL), 0);
    CHECK_CODE(pdtp_reader_open(&reader, session, "/file.bin", PATIENCE_MS), 0);
    CHECK_CODE(pdtp_share_add(&share, session, "/small", "none", NULL), 0);
    CHECK_CODE(pdtp_list(&listing, session, "/", 1, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_resume_list(&resume, client), 0);
    entry = pdtp_listing_entry(listing, 0);
    CHECK(entry != NULL);
"#;

const AFTER: &str = r#"
    pdtp_resume_free(resume);
    pdtp_listing_free(listing);
    pdtp_share_free(share);
    pdtp_reader_free(reader);
    pdtp_transfer_free(transfer);
    pdtp_request_free(request);
    pdtp_session_free(session);
    pdtp_client_free(client);
    pdtp_config_free(config);
    printf("%lu calls\n", calls);
    return 0;
}
"#;

/// Those of which the program has one to give.
const HANDLES: &[&str] =
    &["config", "client", "session", "request", "transfer", "reader", "share", "listing", "resume", "entry"];

const FILES: &[&str] = &["NULL", "\"\"", "\"\\xff\\xfe\"", "\"other\"", "long_text"];

/// Functions that take over what they are given, or end it: never with the ones that others still need.
fn takes_over(function: &str) -> bool {
    function.ends_with("_free") || function == "pdtp_request_start"
}

/// A parameter: its type, with `*`, and its name.
fn parameters(prototype: &str) -> Vec<(String, String)> {
    let inside = prototype.split_once('(').expect("a prototype").1.trim_end_matches(')');
    let one = |parameter: &str| {
        let parameter = parameter.trim();
        let at = parameter.rfind([' ', '*']).expect("a type and a name") + 1;
        (parameter[..at].trim().to_owned(), parameter[at..].to_owned())
    };
    inside.split(',').filter(|parameter| parameter.trim() != "void").map(one).collect()
}

/// What such a parameter is tried with.
fn nonsense(function: &str, kind: &str, name: &str) -> Vec<String> {
    let words: &[&str] = match (kind, name) {
        ("int", "timeout_ms") => &["0"],
        ("int", _) => &["0", "1", "-1", "INT_MIN", "INT_MAX"],
        // Of the block, which is all there is room for.
        ("size_t", "size" | "length") => &["0", "7", "sizeof words"],
        ("size_t", _) => &["0", "1", "SIZE_MAX"],
        ("uint16_t", _) => &["0", "65535"],
        ("uint64_t", _) => &["0", "1", "UINT64_MAX"],
        ("int64_t", _) => &["0", "-1", "INT64_MIN", "INT64_MAX"],
        // Names of files: none outside of the directory in which it runs.
        ("const char *", "local" | "file" | "cache_dir" | "state_dir") => FILES,
        ("const char *", "name") if function.starts_with("pdtp_request_to_") => FILES,
        ("const char *", _) => &["NULL", "\"\"", "\"\\xff\\xfe\"", "\"/file.bin\"", "long_text"],
        // A string that is to be freed.
        ("char *", "string") => &["NULL"],
        ("void *", "user_data") => &["NULL"],
        ("char *" | "void *" | "const void *", _) => &["NULL", "block"],
        (callback, _) if callback.ends_with("_callback") => &["NULL"],
        _ => &[],
    };
    if !words.is_empty() {
        return words.iter().map(|word| (*word).to_owned()).collect();
    }
    let mut values = vec!["NULL".to_owned()];
    let Some(to) = kind.strip_suffix("**") else {
        let to = kind.trim_start_matches("const ").trim_end_matches([' ', '*']);
        match to.strip_prefix("pdtp_") {
            // There is no event outside of a callback.
            Some("event") => values.push("(const pdtp_event *)config".to_owned()),
            Some(handle) if HANDLES.contains(&handle) => {
                let other = if handle == "config" { "client" } else { "config" };
                values.push(format!("({kind}){other}"));
                if !takes_over(function) {
                    values.push(handle.to_owned());
                }
            }
            // Something that is filled.
            _ => values.push(format!("({kind})(void *)block")),
        }
        return values;
    };
    assert!(to.starts_with("pdtp_") || to.ends_with("char "), "{function}: what is a {kind}?");
    values.push("&out".to_owned());
    values
}

/// All ways to choose one value for each parameter.
fn products(choices: &[Vec<String>]) -> Vec<Vec<String>> {
    choices.iter().fold(vec![Vec::new()], |calls, values| {
        let with = |call: &Vec<String>| {
            let call = call.clone();
            values.iter().map(move |value| [call.clone(), vec![value.clone()]].concat())
        };
        calls.iter().flat_map(with).collect()
    })
}

/// The text of the program.
pub fn program(abi: &Abi) -> String {
    let mut text = String::from(BEFORE);
    for (function, prototype) in &abi.functions {
        let parameters = parameters(prototype);
        let out = parameters.iter().find_map(|(kind, _)| kind.strip_suffix("**")).map(str::trim_end);
        let choices: Vec<_> = parameters.iter().map(|(kind, name)| nonsense(function, kind, name)).collect();
        writeln!(text, "    function = \"{function}\";\n    {{").unwrap();
        if let Some(kind) = out {
            writeln!(text, "        {kind} *out = NULL;\n").unwrap();
        }
        for call in products(&choices) {
            // What has come out is freed, unless it is borrowed.
            let free = match out {
                Some("char") => "pdtp_string_free(out); out = NULL;".to_owned(),
                Some(kind) if !kind.starts_with("const") => format!("{kind}_free(out); out = NULL;"),
                _ => String::new(),
            };
            // Without a handle, or with one of another kind, nothing can have gone well.
            let is_handle = parameters
                .first()
                .is_some_and(|(kind, _)| kind.starts_with("pdtp_") || kind.starts_with("const pdtp_"))
                && !parameters[0].0.contains("**")
                && !prototype.starts_with("void");
            let call_text = format!("{function}({})", call.join(", "));
            // The one that answers with something to be freed.
            let call_text = if function == "pdtp_config_new" {
                format!("pdtp_config_free({call_text})")
            } else {
                call_text
            };
            let is_bad = is_handle && (call[0] == "NULL" || call[0].starts_with('('));
            let is_pointer = prototype.split('(').next().unwrap().contains('*');
            let statement = match (is_bad, is_pointer) {
                (true, true) => format!("CHECK(!{call_text});"),
                (true, false) if !prototype.starts_with("uint") && !prototype.starts_with("size_t") => {
                    format!("CHECK({call_text} <= 0);")
                }
                (true, false) => format!("CHECK({call_text} == 0);"),
                (false, _) => format!("{call_text};"),
            };
            writeln!(text, "        {statement} {free} looked_at(); calls++;").unwrap();
        }
        writeln!(text, "    }}").unwrap();
    }
    text.push_str(AFTER);
    text
}
