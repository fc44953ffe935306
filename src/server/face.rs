//! Stand-in until the real face is here.

use crate::hub::Hub;
use crate::peer::head::RequestHead;
use crate::peer::serve::Response;

/// Files and directories for browsers.
pub(crate) struct Face {
    _hub: Hub,
}

impl Face {
    pub(crate) fn new(hub: Hub) -> Self {
        Self { _hub: hub }
    }

    /// Answers a request.
    pub(crate) fn answer(&self, _head: &RequestHead) -> Response {
        Response::text(404, "not found")
    }
}
