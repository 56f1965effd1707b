//! Stories told through the door: HTTP, the shell, real clients. They live in `it/`; this library
//! is empty.
