//! Which route decides, and what it does to a request.
