//! A value alone on its cache line, so that workers writing one never slow down readers of another.

/// 128 bytes, not 64: x86-64 fetches lines in pairs, and some aarch64 cores have lines of 128.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CacheLine<T>(pub(crate) T);

#[cfg(test)]
mod tests {
    use super::CacheLine;

    #[test]
    fn neighbours_do_not_share_a_line() {
        let pair = [CacheLine(0_u32), CacheLine(0)];
        assert_eq!(size_of_val(&pair), 256);
        assert_eq!(align_of_val(&pair[0]), 128);
    }
}
