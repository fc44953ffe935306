use super::types::*;

/// The scheduler of one server.
#[derive(Debug)]
pub struct Swarm {
    _config: Config,
}

impl Swarm {
    /// With nobody here and no files.
    pub fn new(config: Config) -> Self {
        Self { _config: config }
    }

    /// Takes an event in and appends what is to be done to `out`. Events about peers, files and transfers that do
    /// not exist (any more) are ignored: they cross with commands on the wire.
    pub fn handle(&mut self, event: Event, now: Time, out: &mut Vec<Command>) {
        let _ = (event, now, out);
        todo!()
    }

    /// When to send [`Event::Tick`] if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        todo!()
    }

    /// Totals.
    pub fn stats(&self) -> SwarmStats {
        todo!()
    }

    /// One peer's part; `None` for strangers.
    pub fn peer_stats(&self, peer: PeerId) -> Option<PeerStats> {
        let _ = peer;
        todo!()
    }

    /// Whether anybody wants, has (origins aside) or is moving anything of `file`.
    pub fn is_in_use(&self, file: FileId) -> bool {
        let _ = file;
        todo!()
    }

    /// The assignment of a transfer under way.
    pub fn transfer(&self, transfer: TransferId) -> Option<&Assignment> {
        let _ = transfer;
        todo!()
    }
}
