//! Pictures that go through an operation strip by strip: what lies between two kernels stays in the cache, and little memory
//! holds it.

use std::ops::Range;

/// Some of a stack of square pictures, or some rows of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strip {
    pub(crate) images: Range<usize>,
    /// All, unless it is one picture's.
    pub(crate) rows: Range<usize>,
}

impl Strip {
    /// All rows of all pictures.
    pub(crate) fn whole(images: usize, side: usize) -> Self {
        Strip { images: 0..images, rows: 0..side }
    }

    /// With the rows above and below that a kernel of 3×3 reads.
    pub(crate) fn with_margin(&self, margin: usize, side: usize) -> Self {
        let rows = self.rows.start.saturating_sub(margin)..(self.rows.end + margin).min(side);
        Strip { images: self.images.clone(), rows }
    }

    /// Its first pixel among those of all pictures.
    pub(crate) fn first_pixel(&self, side: usize) -> usize {
        (self.images.start * side + self.rows.start) * side
    }

    /// Its pixels.
    pub(crate) fn pixels(&self, side: usize) -> usize {
        self.images.len() * self.rows.len() * side
    }
}

/// Cuts pictures into strips of about the same size, each of which takes at most `room` bytes with its margin: whole pictures
/// where one fits, else rows, a multiple of `grain` (and so many at least).
pub(crate) fn strips(
    images: usize,
    side: usize,
    row_bytes: usize,
    margin: usize,
    grain: usize,
    room: usize,
) -> Vec<Strip> {
    let together = room / (side * row_bytes).max(1);
    if together > 0 {
        let each = images.div_ceil(images.div_ceil(together));
        let starts = (0..images).step_by(each);
        return starts
            .map(|start| Strip { images: start..(start + each).min(images), rows: 0..side })
            .collect();
    }
    let most = ((room / row_bytes).saturating_sub(2 * margin) / grain * grain).max(grain);
    let each = side.div_ceil(side.div_ceil(most)).next_multiple_of(grain);
    let of_picture = |image: usize| {
        (0..side)
            .step_by(each)
            .map(move |start| Strip { images: image..image + 1, rows: start..(start + each).min(side) })
    };
    (0..images).flat_map(of_picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a row of 160 channels in bfloat16.
    fn row(side: usize) -> usize {
        side * 160 * 2
    }

    #[test]
    fn pictures_stay_whole_where_one_fits() {
        let strips = |images, side| strips(images, side, row(side), 1, 8, 22 << 20);
        assert_eq!(strips(1, 256), [Strip::whole(1, 256)]);
        assert_eq!(strips(16, 16), [Strip::whole(16, 16)]);
        assert_eq!(strips(16, 256).len(), 16);
        // Of five, three and two rather than four and one.
        let five: Vec<_> = strips(5, 128).into_iter().map(|strip| strip.images).collect();
        assert_eq!(five, [0..3, 3..5]);
    }

    #[test]
    fn rows_cover_large_pictures_in_order_and_fit() {
        for (images, side, room) in [(1, 1024, 22 << 20), (2, 1000, 22 << 20), (3, 40, 1 << 10)] {
            let strips = strips(images, side, row(side), 1, 8, room);
            let rows: Vec<_> = strips
                .iter()
                .flat_map(|strip| strip.rows.clone().map(|row| (strip.images.start, row)))
                .collect();
            let all: Vec<_> = (0..images).flat_map(|image| (0..side).map(move |row| (image, row))).collect();
            assert_eq!(rows, all);
            let most = strips.iter().map(|strip| strip.with_margin(1, side).rows.len()).max();
            assert!(most.is_some_and(|most| most * row(side) <= room.max(10 * row(side))), "{most:?}");
            assert!(strips.iter().all(|strip| strip.rows.start % 8 == 0));
        }
        assert_eq!(super::strips(1, 1024, row(1024), 1, 8, 22 << 20).len(), 16);
    }
}
