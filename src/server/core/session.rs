//! Registering, signs of life, errors, leaving.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::client::{Claim, Claimant, Client, Session, State};
use super::{ConnId, Core, Hello, Input, ORIGIN, Output, WATCHFUL_US};
use crate::swarm::{Event, PeerId, PeerInfo};
use crate::wire::token::{Secret, make_hello};
use crate::wire::{self, ErrorCode, Message, Register, WireError, limits};

/// How long the holder of a claimed id has to show that it is alive, microseconds.
const CLAIM_US: u64 = 2_000_000;
/// Messages kept for a client whose id is still held by another connection.
const MAX_HELD: usize = 128;
/// Pings without an answer before a client counts as dead.
const MAX_PINGS: u32 = 3;
/// Ports below this are never dialled, except the server's own.
const FIRST_FREE_PORT: u16 = 1024;
/// Longest `register.agent` that is kept, bytes.
const MAX_AGENT: usize = 128;
/// What [`limits::KEEPALIVE`] is in microseconds.
const KEEPALIVE_US: u64 = limits::KEEPALIVE.as_micros() as u64;
/// What [`limits::REGISTER_TIMEOUT`] is in microseconds.
const REGISTER_US: u64 = limits::REGISTER_TIMEOUT.as_micros() as u64;
/// Seconds after which clients are asked to come back from a restart.
const COME_BACK_S: u32 = 2;

impl Core {
    pub(super) fn connected(&mut self, conn: ConnId, remote: SocketAddr, local: SocketAddr) {
        let now = self.now.time;
        let client = Client {
            remote,
            local,
            since: now,
            last_heard: now,
            pings: 0,
            asked: None,
            errors: 0,
            is_v3: false,
            state: State::New,
        };
        self.clients.insert(conn, client);
        self.unregistered.insert(conn);
        self.look_again_in(WATCHFUL_US);
        if self.going_down {
            self.close(conn);
        }
    }

    pub(super) fn received(&mut self, conn: ConnId, message: Result<Message, WireError>) {
        self.alive(conn);
        self.settle_claim_on(conn);
        let Some(client) = self.clients.get_mut(&conn) else { return };
        match &mut client.state {
            State::New => match message {
                Ok(Message::Register(register)) => self.register(conn, register),
                Ok(other) => {
                    self.refuse(conn, ErrorCode::Protocol, &format!("{} before register", other.kind()))
                }
                // A type without members, which only lines forgive, says nothing at all.
                Err(WireError::NoMembers(_)) => {}
                Err(error) => self.refuse(conn, ErrorCode::Protocol, &error.to_string()),
            },
            State::Claiming(claimant) => {
                if claimant.held.len() < MAX_HELD {
                    claimant.held.push(message);
                } else {
                    self.refuse(conn, ErrorCode::Limit, "too many messages before registered");
                }
            }
            State::Registered(_) => match message {
                Ok(message) if self.is_denied(conn, &message) => {}
                Ok(message) => self.message(conn, message),
                Err(error) => self.not_understood(conn, &error),
            },
        }
    }

    /// A client is there.
    pub(super) fn alive(&mut self, conn: ConnId) {
        let now = self.now.time;
        if let Some(client) = self.clients.get_mut(&conn) {
            client.last_heard = now;
            client.pings = 0;
            client.asked = None;
        }
    }

    /// Asks a client for a sign of life.
    pub(super) fn ping(&mut self, conn: ConnId) {
        let now = self.now.time;
        if let Some(client) = self.clients.get_mut(&conn) {
            client.asked.get_or_insert(now);
        }
        self.send(conn, wire::Ping {});
    }

    /// A message of a registered client.
    fn message(&mut self, conn: ConnId, message: Message) {
        match message {
            Message::Ping(_) => self.send(conn, wire::Pong {}),
            Message::Pong(_) => {
                if let Some(peer) = self.peer_of(conn) {
                    self.tell_swarm(Event::Pong { peer });
                }
            }
            Message::AskInfo(m) => self.ask_info(conn, m),
            Message::AskHashes(m) => self.ask_hashes(conn, m),
            Message::List(m) => self.list(conn, m),
            Message::Request(m) => self.request(conn, m),
            Message::Unrequest(m) => self.unrequest(conn, m),
            Message::Provide(m) => self.provide(conn, m),
            Message::Unprovide(m) => self.unprovide(conn, m),
            Message::Completed(m) => self.completed(conn, m),
            Message::Progress(m) => self.progress(conn, &m),
            Message::AskVerify(m) => self.ask_verify(conn, m),
            Message::Error(m) => {
                tracing::debug!(?conn, code = ?m.code, message = ?m.message, "client reports")
            }
            Message::ProtocolError(wire::ProtocolError { message })
            | Message::ProtocolWarn(wire::ProtocolWarn { message }) => {
                tracing::debug!(?conn, ?message, "client reports");
            }
            Message::Register(_) => {
                self.refuse(conn, ErrorCode::Protocol, "register comes first and once");
            }
            Message::Watch(m) => self.watch(conn, m),
            Message::Unwatch(m) => self.unwatch(conn, &m),
            other => {
                self.strike(conn, &format!("{} is for servers to say", other.kind()), Some(other.kind()))
            }
        }
    }

    fn register(&mut self, conn: ConnId, register: Register) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.is_v3 = register.version.is_some_and(|version| version >= wire::PROTOCOL_VERSION);
        }
        if register.client_id == self.identity.id {
            return self.refuse(conn, ErrorCode::IdInUse, "this id is the server's own");
        }
        let Some(&holder) = self.ids.get(&register.client_id) else { return self.admit(conn, register) };
        let holder_is_v3 = self.clients.get(&holder).is_some_and(|client| client.is_v3);
        if !holder_is_v3 || self.claims.contains_key(&holder) {
            // Version 2 has no ping; whoever is there stays until TCP says that it is gone.
            return self.refuse(conn, ErrorCode::IdInUse, "this client_id is in use");
        }
        // It may be the same client, back before the server noticed that it was gone.
        self.claims.insert(holder, Claim { by: conn, deadline: self.now.time.plus(CLAIM_US) });
        self.ping(holder);
        self.look_again_in(CLAIM_US);
        self.unregistered.remove(&conn);
        if let Some(client) = self.clients.get_mut(&conn) {
            client.state = State::Claiming(Box::new(Claimant { register, held: Vec::new() }));
        }
    }

    /// Something came from `holder`: whoever claims its id is turned away.
    fn settle_claim_on(&mut self, holder: ConnId) {
        if let Some(claim) = self.claims.remove(&holder) {
            self.refuse(claim.by, ErrorCode::IdInUse, "this client_id is in use");
        }
    }

    fn admit(&mut self, conn: ConnId, register: Register) {
        self.unregistered.remove(&conn);
        let is_v3 = self.clients.get(&conn).is_some_and(|client| client.is_v3);
        let has = |feature: &str| register.features.iter().any(|f| f == feature);
        // Version 2 has no word for it: every client of it gives.
        let (gives, runs) =
            if is_v3 { (has(wire::FEATURE_GIVE), has(wire::FEATURE_RUNS)) } else { (true, false) };
        let (has_wait, stays) = (has(wire::FEATURE_WAIT), has(wire::FEATURE_STAY));
        let secret = Secret(self.random_bytes());
        let session_id = self.random_hex();
        let Some(peer) = self.new_peer(conn) else {
            return self.refuse(conn, ErrorCode::Busy, "too many clients");
        };
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let (remote, address) = (client.remote, client.remote.ip().to_canonical());
        let agent: String =
            register.agent.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_AGENT).collect();
        client.state = State::Registered(Box::new(Session {
            id: register.client_id.clone(),
            peer,
            agent,
            secret: secret.clone(),
            listen_port: register.listen_port,
            gives,
            reachable: false,
            files: HashMap::new(),
            wanted: 0,
            open: Vec::new(),
            outstanding: 0,
            pending: 0,
            early: None,
            said: has(wire::FEATURE_BRIEF).then(wire::Said::default).filter(|_| is_v3),
            watching: Default::default(),
            last_words: Default::default(),
            cancelled: Default::default(),
        }));
        self.ids.insert(register.client_id.clone(), conn);
        self.stats.registered += 1;
        tracing::info!(client = ?register.client_id, address = %remote, is_v3, session = session_id, "registered");
        if is_v3 {
            let registered = wire::Registered {
                version: wire::PROTOCOL_VERSION,
                agent: self.identity.agent.clone(),
                server: self.identity.id.clone(),
                session: session_id,
                address: address.to_string(),
                secret: secret.to_base64(),
                time: self.now.unix,
                features: self.identity.features.clone(),
                keepalive_s: limits::KEEPALIVE.as_secs() as u32,
                limits: wire::ServerLimits {
                    outstanding: limits::MAX_OUTSTANDING as u32,
                    files: limits::MAX_FILES_PER_CLIENT as u32,
                    ranges: limits::MAX_RANGES_PER_FILE as u32,
                },
                notice: self.identity.notice.clone(),
            };
            self.send(conn, registered);
        }
        self.tell_swarm(Event::PeerJoined {
            peer,
            info: PeerInfo {
                is_origin: false,
                reachable: false,
                gives,
                runs,
                // Of version 2, nobody counts what was brought (DistribuStream 0.1.0 stores it and says that it failed).
                puts: is_v3,
                ahead: is_v3 && has_wait,
                stays: is_v3 && stays,
                up_limit: register.up_limit,
                down_limit: register.down_limit,
                address: Some(address),
            },
        });
        if register.listen_port >= FIRST_FREE_PORT {
            let hello = is_v3.then(|| {
                let nonce = self.random_hex();
                let answer = make_hello(&secret, &nonce);
                Hello { client_id: register.client_id, nonce, answer }
            });
            let address = SocketAddr::new(address, register.listen_port);
            self.out.push(Output::Probe { conn, address, hello });
        } else if is_v3 && register.listen_port != 0 {
            self.send(conn, wire::Reachable { ok: false });
        }
        self.look_again_in(super::HOUSEKEEPING_US);
    }

    pub(super) fn probed(&mut self, conn: ConnId, ok: bool) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let is_v3 = client.is_v3;
        let Some(session) = client.session_mut() else { return };
        session.reachable = ok;
        let peer = session.peer;
        if is_v3 {
            self.send(conn, wire::Reachable { ok });
        }
        self.tell_swarm(Event::Reachable { peer, ok });
    }

    /// A message that could not be parsed.
    fn not_understood(&mut self, conn: ConnId, error: &WireError) {
        if error.is_fatal() {
            self.stats.protocol_errors += 1;
            return self.refuse(conn, ErrorCode::Protocol, &error.to_string());
        }
        let re = match error {
            WireError::Field { kind, .. } | WireError::UnknownType(kind) | WireError::NoMembers(kind) => {
                Some(kind.as_str())
            }
            _ => None,
        };
        self.strike(conn, &error.to_string(), re);
    }

    /// Forgives a protocol error, unless there have been too many.
    pub(super) fn strike(&mut self, conn: ConnId, message: &str, re: Option<&str>) {
        self.stats.protocol_errors += 1;
        let Some(client) = self.clients.get_mut(&conn) else { return };
        client.errors += 1;
        if client.errors > limits::MAX_ERRORS_PER_CLIENT {
            return self.refuse(conn, ErrorCode::Limit, "too many protocol errors");
        }
        self.complain(conn, ErrorCode::Protocol, message, None, re.unwrap_or_default());
    }

    /// Tells a client of an error that it can live with, in the words of its version. `re` is the type of the
    /// message that led to it.
    pub(super) fn complain(
        &mut self,
        conn: ConnId,
        code: ErrorCode,
        message: &str,
        url: Option<String>,
        re: &str,
    ) {
        let is_v3 = self.clients.get(&conn).is_some_and(|client| client.is_v3);
        if is_v3 {
            let re = Some(re.to_owned()).filter(|re| !re.is_empty());
            self.send(conn, wire::Error { code, message: message.to_owned(), url, re, id: None });
        } else {
            let message = match url {
                Some(url) => format!("{re} {url}: {message}"),
                None => message.to_owned(),
            };
            self.send(conn, wire::ProtocolWarn { message: Some(message) });
        }
    }

    /// Tells a client why it has to go, and closes.
    pub(super) fn refuse(&mut self, conn: ConnId, code: ErrorCode, message: &str) {
        let Some(client) = self.clients.get(&conn) else { return };
        tracing::debug!(?conn, address = %client.remote, message, "refused");
        self.send(conn, self.last_word(conn, code, message));
        self.close(conn);
    }

    /// Why a connection ends, in the words of its version.
    pub(crate) fn last_word(&self, conn: ConnId, code: ErrorCode, message: &str) -> Message {
        let message = message.to_owned();
        if self.is_v3(conn) {
            wire::Error { code, message, url: None, re: None, id: None }.into()
        } else {
            wire::ProtocolError { message: Some(message) }.into()
        }
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        self.out.push(Output::Close { conn });
        self.forget(conn);
    }

    /// A connection is gone, with everything that hung on it.
    pub(super) fn forget(&mut self, conn: ConnId) {
        let Some(client) = self.clients.remove(&conn) else { return };
        self.unregistered.remove(&conn);
        self.claims.retain(|_, claim| claim.by != conn);
        if let State::Registered(session) = client.state {
            tracing::info!(client = ?session.id, address = %client.remote, "left");
            self.ids.remove(&session.id);
            self.forget_watches(conn, &session.watching);
            self.tell_swarm(Event::PeerLeft { peer: session.peer });
            for transfer in session.open {
                self.close_transfer(transfer);
            }
            self.peers[session.peer.0 as usize] = None;
            self.free_peers.push(session.peer);
        }
        if let Some(claim) = self.claims.remove(&conn) {
            self.honour(claim.by);
        }
    }

    /// The id that `conn` claimed is free.
    fn honour(&mut self, conn: ConnId) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let State::Claiming(claimant) = std::mem::replace(&mut client.state, State::New) else { return };
        let Claimant { register, held } = *claimant;
        self.admit(conn, register);
        for message in held {
            self.received(conn, message);
        }
    }

    pub(super) fn look_over_connections(&mut self) {
        let now = self.now.time;
        let late: Vec<_> = self
            .unregistered
            .iter()
            .copied()
            .filter(|conn| self.clients.get(conn).is_none_or(|client| now.since(client.since) >= REGISTER_US))
            .collect();
        for conn in late {
            self.unregistered.remove(&conn);
            self.refuse(conn, ErrorCode::Protocol, "register within 10 seconds");
        }
        let due: Vec<_> =
            self.claims.iter().filter(|(_, claim)| claim.deadline <= now).map(|(&conn, _)| conn).collect();
        for holder in due {
            // Nothing came from it, else the claim would be settled. Leaving honours the claim.
            self.close(holder);
        }
        if !self.unregistered.is_empty() {
            self.look_again_in(WATCHFUL_US);
        }
        if let Some(next) = self.claims.values().map(|claim| claim.deadline.since(now)).min() {
            self.look_again_in(next);
        }

        let (mut silent, mut dead) = (Vec::new(), Vec::new());
        for (&conn, client) in &mut self.clients {
            // Version 2 has no ping; TCP's own keepalive looks after it.
            let asked = u64::from(client.pings) + 1;
            if !client.is_v3 || now.since(client.last_heard) < KEEPALIVE_US * asked {
                continue;
            }
            if client.pings >= MAX_PINGS {
                dead.push(conn);
            } else {
                client.pings += 1;
                silent.push(conn);
            }
        }
        for conn in silent {
            self.ping(conn);
        }
        for conn in dead {
            tracing::debug!(?conn, "no sign of life");
            self.close(conn);
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        self.going_down = true;
        let clients: Vec<_> =
            self.clients.iter().filter(|(_, client)| client.is_v3).map(|(&conn, _)| conn).collect();
        for conn in clients {
            let goaway = wire::Goaway { reason: "the server is going down".to_owned(), after_s: COME_BACK_S };
            self.send(conn, goaway);
        }
    }

    /// The lowest free number, so that tables indexed by it stay dense.
    fn new_peer(&mut self, conn: ConnId) -> Option<PeerId> {
        if let Some(peer) = self.free_peers.pop() {
            self.peers[peer.0 as usize] = Some(conn);
            return Some(peer);
        }
        let peer = PeerId(u32::try_from(self.peers.len()).ok()?);
        self.peers.push(Some(conn));
        Some(peer)
    }

    /// The connection of a peer; `None` for the origin and for those gone.
    pub(super) fn conn_of(&self, peer: PeerId) -> Option<ConnId> {
        if peer == ORIGIN { None } else { self.peers.get(peer.0 as usize).copied().flatten() }
    }

    fn random_bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        (self.random)(&mut bytes);
        bytes
    }

    fn random_hex(&mut self) -> String {
        let bytes = self.random_bytes();
        bytes[..16].iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl Input {
    /// A message as [`Core::handle`] takes it, outside of any connection's accounting.
    #[cfg(test)]
    pub(crate) fn message(conn: ConnId, message: impl Into<Message>) -> Self {
        Self::Message { conn, message: Ok(message.into()), credit: None }
    }
}
