//! Functions of the application, and the data that belongs to them.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::event::pdtp_event;
use super::guard::Context;

/// Is given each event. Called on the thread that drains the events (see "Threads" above), one call at a time.
/// `event` and all that is borrowed from it end with the call. It may call every function that does not block.
pub type pdtp_event_callback = Option<unsafe extern "C" fn(event: *const pdtp_event, user_data: *mut c_void)>;

/// Tells that events are waiting: sets a flag, posts a message, writes to a pipe. Called on a thread of the library.
/// It may call no function of the library, and should be quick.
pub type pdtp_wakeup_callback = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Is given the bytes of a download in order, verified. `offset` counts from the start of the file; `data` ends with
/// the call. Called where the event callback is called, so while it runs no more than a window of the file is
/// fetched ahead. Answers PDTP_DATA_CONTINUE, PDTP_DATA_PAUSE or PDTP_DATA_ABORT; what is none of these aborts.
pub type pdtp_data_callback = Option<
    unsafe extern "C" fn(offset: u64, data: *const c_void, length: usize, user_data: *mut c_void) -> c_int,
>;

/// Ends `user_data`. Called exactly once, after the last call of the function that it was given with, also when the
/// call that was to install the function fails; on the thread of the call that replaces or frees, or on the one that
/// drains the events. It may only call functions named *_free. NULL where there is nothing to end.
pub type pdtp_destroy_callback = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A pointer of the application's that ends with this value.
///
/// Must not be dropped while a lock is held: `destroy` is the application's code.
#[derive(Debug)]
pub(super) struct UserData {
    pointer: *mut c_void,
    destroy: pdtp_destroy_callback,
}

// SAFETY: never read here, only handed to the application's functions; the header says on which threads these run.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    pub(super) fn new(pointer: *mut c_void, destroy: pdtp_destroy_callback) -> Self {
        Self { pointer, destroy }
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: given by the application for this pointer, and called once.
            Context::Destroy.run(|| unsafe { destroy(self.pointer) });
        }
    }
}

/// A function that is given events.
#[derive(Debug)]
pub(super) struct EventFn {
    call: unsafe extern "C" fn(*const pdtp_event, *mut c_void),
    data: UserData,
}

impl EventFn {
    /// `None`, and the data is destroyed, for NULL.
    pub(super) fn new(call: pdtp_event_callback, data: UserData) -> Option<Self> {
        call.map(|call| Self { call, data })
    }

    pub(super) fn call(&self, event: *const pdtp_event) {
        // SAFETY: the application's function with the application's data, as the header demands.
        Context::Callback.run(|| unsafe { (self.call)(event, self.data.pointer) });
    }
}

/// A function that tells of events.
#[derive(Debug)]
pub(super) struct WakeupFn {
    call: unsafe extern "C" fn(*mut c_void),
    data: UserData,
}

impl WakeupFn {
    /// `None`, and the data is destroyed, for NULL.
    pub(super) fn new(call: pdtp_wakeup_callback, data: UserData) -> Option<Self> {
        call.map(|call| Self { call, data })
    }

    pub(super) fn call(&self) {
        // SAFETY: as in `EventFn::call`.
        Context::Wakeup.run(|| unsafe { (self.call)(self.data.pointer) });
    }
}

/// A function that is given bytes.
#[derive(Debug)]
pub(super) struct DataFn {
    call: unsafe extern "C" fn(u64, *const c_void, usize, *mut c_void) -> c_int,
    data: UserData,
}

impl DataFn {
    /// `None`, and the data is destroyed, for NULL.
    pub(super) fn new(call: pdtp_data_callback, data: UserData) -> Option<Self> {
        call.map(|call| Self { call, data })
    }

    pub(super) fn call(&self, offset: u64, bytes: &[u8]) -> c_int {
        // SAFETY: as in `EventFn::call`; the bytes live as long as the call.
        Context::Callback
            .run(|| unsafe { (self.call)(offset, bytes.as_ptr().cast(), bytes.len(), self.data.pointer) })
    }
}

/// `user_data` that only comes back in events: a number for this library.
pub(super) fn to_number(user_data: *mut c_void) -> usize {
    user_data.expose_provenance()
}

/// The pointer that it was.
pub(super) fn from_number(user_data: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(user_data)
}
