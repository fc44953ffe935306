//! "What I get is what is served", for files of all sizes.

use crate::common::*;

const KIB: usize = 1024;

#[test]
fn files_of_all_sizes_arrive_whole() {
    // The smallest piece that files of this size get is 64 KiB.
    let sizes =
        [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 640 * KIB, 640 * KIB + 1, 5 * 1024 * KIB + 12_345];
    let files: Vec<_> = sizes.iter().map(|size| (format!("f{size}"), *size)).collect();
    let served = make_tree(&files);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    for (name, size) in &files {
        let run = pdtp_in(here.path(), &["get", &server.uri(&format!("/{name}"))]).expect(0);
        assert!(run.stderr.contains(name.as_str()), "{}", run.stderr);
        assert_same_file(&served.path().join(name), &here.path().join(name));
        let meta = here.path().join(name).metadata().unwrap();
        assert_eq!(meta.len(), *size as u64);
    }
    // Nothing else is left: no part files, no state files.
    assert_same_tree(served.path(), here.path());
}

#[test]
fn the_modification_time_comes_along() {
    let served = make_tree(&[("a", 1000)]);
    let file = std::fs::File::options().write(true).open(served.path().join("a")).unwrap();
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    file.set_modified(then).unwrap();
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    pdtp_in(here.path(), &["get", &server.uri("/a")]).expect(0);
    assert_eq!(here.path().join("a").metadata().unwrap().modified().unwrap(), then);
}

#[test]
fn output_names_the_file_or_the_directory() {
    let served = make_tree(&[("d/a", 70_000)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let source = served.path().join("d/a");
    std::fs::create_dir(here.path().join("there")).unwrap();
    for (output, result) in [("b", "b"), ("there", "there/a"), ("new/", "new/a"), ("./there/c", "there/c")] {
        pdtp_in(here.path(), &["get", &server.uri("/d/a"), "-o", output]).expect(0);
        assert_same_file(&source, &here.path().join(result));
    }
}

#[test]
fn a_pinned_version_is_what_comes() {
    let served = make_tree(&[("a", 300_000)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let stat = pdtp(&["stat", "--json", &server.uri("/a")]).expect(0);
    let stat: serde_json::Value = serde_json::from_str(&stat.text()).unwrap();
    let pinned = stat["uri"].as_str().unwrap();
    assert!(pinned.contains("#root="), "{pinned}");
    pdtp_in(here.path(), &["get", pinned]).expect(0);
    assert_same_file(&served.path().join("a"), &here.path().join("a"));
    // Any other version is none at all.
    let wrong = "0".repeat(64);
    let run = pdtp_in(here.path(), &["get", "-o", "b", "--root", &wrong, &server.uri("/a")]).expect(6);
    assert!(run.stderr.starts_with("pdtp: "), "{}", run.stderr);
    assert!(!here.path().join("b").exists());
}
