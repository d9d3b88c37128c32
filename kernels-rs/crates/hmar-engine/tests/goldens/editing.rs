//! Editing against the golden `edit`, and what it promises.

use hmar_engine::{Cancel, Event, Generated, Kept, Request, Session};

use super::golden::*;
use super::shapes::*;

fn source() -> Vec<u32> {
    Golden::open("tiny-a").integers("enc_tokens")[..130].to_vec()
}

fn edit(shapes: &Shapes, keep: Kept) -> Generated {
    let request = Request {
        labels: vec![4, 10],
        plan: plan(&LONG),
        seed: 14,
        first_image: 0,
        batch: 2,
        skip_negligible_guidance: true,
        trace: true,
        keep: Some(keep),
    };
    let report: &(dyn Fn(Event) + Sync) = &|_| {};
    Session::default()
        .generate(&shapes.model, &shapes.tokenizer, &request, &Cancel::default(), report)
        .unwrap()
}

#[test]
fn a_box_is_redrawn_token_for_token() {
    let golden = Golden::open("tiny-generations");
    let shapes = load();
    let kept = Kept::new(shapes.model.config(), source(), Some(&golden.floats("edit.keep")), 0).unwrap();
    let Generated { tokens, trace, pixels, .. } = edit(&shapes, kept.clone());
    assert_eq!(trace, golden.integers("edit.trace"));
    assert_eq!(tokens, golden.integers("edit.tokens"));

    for image in tokens.chunks_exact(130) {
        let differing = |i: usize| image[i] != source()[i];
        assert!((0..130).filter(|&i| kept.free()[i] == 0).all(|i| !differing(i)));
        assert!((0..130).any(differing));
    }

    let expected = golden.floats("edit.images");
    for (image, planes) in pixels.chunks_exact(3 * 64 * 64).zip(expected.chunks_exact(3 * 64 * 64)) {
        for (&byte, value) in image.iter().zip(channels_last(planes, 3)) {
            assert!((i32::from(byte) - (255.0 * value + 0.5) as i32).abs() <= 1);
        }
    }
}

#[test]
fn a_picture_that_is_kept_whole_comes_back() {
    let shapes = load();
    let kept = Kept::new(shapes.model.config(), source(), None, 6).unwrap();
    let Generated { tokens, trace, latents, .. } = edit(&shapes, kept);
    assert_eq!(tokens, source().repeat(2));
    assert_eq!(trace.len(), 2 * 448);
    let expected = shapes.tokenizer.latent_of_tokens(&source(), &PYRAMID).unwrap();
    assert_eq!(latents, expected.repeat(2));
}

#[test]
fn coarse_scales_are_kept_and_the_rest_is_drawn() {
    let shapes = load();
    let kept = Kept::new(shapes.model.config(), source(), None, 3).unwrap();
    let Generated { tokens, .. } = edit(&shapes, kept);
    for image in tokens.chunks_exact(130) {
        assert_eq!(image[..14], source()[..14]);
        assert_ne!(image[14..], source()[14..]);
    }
}
