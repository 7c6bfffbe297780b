//! Every row of the robustness tables over sockets, against a strict backend.
