//! How the tiles of a path's layers are shared out among clusters.

/// Clusters at most.
pub(super) const MOST_CLUSTERS: usize = 32;

/// Where each cluster's tiles of a layer begin; the next one's begin where they end.
pub(super) type Shares = [u16; MOST_CLUSTERS + 1];

/// The shares of every layer.
#[derive(Debug, PartialEq)]
pub(super) struct Division {
    pub(super) qkv: Shares,
    /// Of both layers that end in the residual stream: its owner stays the same.
    pub(super) back: Shares,
    pub(super) fc1: Shares,
    pub(super) logit: Shares,
}

impl Division {
    /// Shares out layers of C/64 = `tiles` tiles where there are C outputs, so that every cluster reads as many weights a
    /// block: those that get one tile more of the few there are of `proj` and `fc2` get fewer of the others.
    pub(super) fn new(clusters: usize, tiles: usize, logit_tiles: usize) -> Self {
        let back = divide(clusters, tiles, |_| 1.0);
        // A tile of `fc2` is four times as deep as others.
        let whole = 12.0 * tiles as f64 / clusters as f64;
        let left = |cluster: usize| (whole - 5.0 * f64::from(back[cluster + 1] - back[cluster])).max(1.0);
        Division {
            qkv: divide(clusters, 3 * tiles, left),
            fc1: divide(clusters, 4 * tiles, left),
            logit: divide(clusters, logit_tiles, |_| 1.0),
            back,
        }
    }

    /// Tiles of a layer that a cluster makes at most.
    pub(super) fn most(shares: &Shares) -> usize {
        shares.windows(2).map(|pair| usize::from(pair[1].saturating_sub(pair[0]))).max().unwrap_or(0)
    }
}

/// Shares `tiles` out in proportion to the clusters' weights.
fn divide(clusters: usize, tiles: usize, weight: impl Fn(usize) -> f64) -> Shares {
    let whole: f64 = (0..clusters).map(&weight).sum();
    let mut shares = [tiles as u16; MOST_CLUSTERS + 1];
    let mut sum = 0.0;
    for (cluster, share) in shares[..clusters].iter_mut().enumerate() {
        *share = (sum / whole * tiles as f64).round() as u16;
        sum += weight(cluster);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(shares: &Shares, cluster: usize) -> usize {
        usize::from(shares[cluster + 1] - shares[cluster])
    }

    #[test]
    fn every_cluster_has_a_tile_of_every_layer_and_as_many_weights_as_others() {
        for tiles in [4, 16, 20, 24, 30, 32] {
            for clusters in (1..=16).filter(|&clusters| clusters <= tiles) {
                let Division { qkv, back, fc1, logit } = Division::new(clusters, tiles, 64);
                let weights =
                    |cluster| count(&qkv, cluster) + count(&fc1, cluster) + 5 * count(&back, cluster);
                for cluster in 0..clusters {
                    for shares in [&qkv, &back, &fc1, &logit] {
                        assert!(count(shares, cluster) > 0, "{clusters} clusters, {tiles} tiles");
                    }
                    assert!(
                        weights(cluster) <= 12 * tiles / clusters + 4,
                        "{clusters} clusters, {tiles} tiles"
                    );
                }
                let ends = [(&qkv, 3 * tiles), (&back, tiles), (&fc1, 4 * tiles), (&logit, 64)];
                for (shares, end) in ends {
                    assert_eq!((shares[0], usize::from(shares[clusters])), (0, end));
                }
            }
        }
    }
}
