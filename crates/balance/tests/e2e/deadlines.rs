//! Every deadline with its status, Proxy-Status and cause.
