//! The C ABI: thin, boring, every function documented. All unsafe code of the library lives here.
