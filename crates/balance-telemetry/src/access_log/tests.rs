//! The log with a real file and a real pipe.
