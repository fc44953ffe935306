//! Many questions at once to a server whose disk is slow: nothing else waits for the answers.

pub mod common;
#[path = "common/raw.rs"]
pub mod raw;

use std::time::Duration;

use common::{Pdtpd, scratch, slow_directories};
use pdtp::wire::{self, Message};
use raw::Raw;

fn list(name: &str, id: u64) -> wire::List {
    wire::List { url: format!("http://h/{name}"), id: Some(id), ..Default::default() }
}

#[test]
fn a_client_is_heard_while_the_directories_that_it_asked_for_are_read() {
    /// More than are read at a time.
    const ASKED: u64 = 20;
    let served = scratch();
    for id in 0..ASKED {
        std::fs::create_dir(served.path().join(id.to_string())).unwrap();
        std::fs::write(served.path().join(format!("{id}/f")), b"").unwrap();
    }
    let server = Pdtpd::start(served.path(), &["--metadata", "off"]);
    let mut client = Raw::connect(server.port());
    client.register_v3("c");
    // Each of them is read in two steps.
    let Some(_slow) = slow_directories(server.pid(), Duration::from_secs(1)) else { return };
    for id in 0..ASKED {
        client.send(list(&id.to_string(), id));
    }
    client.send(wire::Ping {});
    let (mut answered, mut listed) = (false, Vec::new());
    while listed.len() < ASKED as usize {
        match client.recv() {
            Some(Message::Pong(_)) => {
                assert!(listed.is_empty(), "it was not heard before {} answers", listed.len());
                answered = true;
            }
            Some(Message::Listing(listing)) => {
                assert_eq!(listing.entries.len(), 1);
                listed.push(listing.id.unwrap());
            }
            Some(Message::Reading(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(answered);
    listed.sort_unstable();
    assert!(listed.into_iter().eq(0..ASKED));
}
