//! What is wrong from outside: ports, files, names, rights, and garbage on a port.
