use millrace_broker::metrics::Metrics;
use tokio::io::AsyncWriteExt;

use super::*;

/// A Produce frame with a body of `len` bytes that mean nothing here.
fn frame(len: usize) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(len).unwrap() + 8);
    frame.put_slice(&[0, 0, 0, 9, 0, 0, 0, 1]);
    frame.put_bytes(7, len);
    frame.to_vec()
}

fn pool() -> Pool {
    Pool::new(1 << 30, &Metrics::new())
}

async fn next<S: AsyncRead + Unpin>(receive: &mut Receive, stream: &mut S) -> Frame {
    std::future::poll_fn(|task| receive.poll_frame(task, stream)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_length_that_no_request_has_is_refused_by_its_four_bytes() {
    for claimed in [i32::MIN, -1, 0, 3, 7, (1 << 20) + 1, i32::MAX] {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut receive = Receive::new(pool(), 1 << 20);
        near.write_all(&claimed.to_be_bytes()).await.unwrap();
        let refused = std::future::poll_fn(|task| receive.poll_frame(task, &mut far)).await;
        assert!(
            matches!(refused, Err(ReceiveError::Length { len, .. }) if len == claimed),
            "{claimed}"
        );
    }
}

#[tokio::test]
async fn the_buffer_is_used_again_once_its_frames_are_dropped() {
    let (mut near, mut far) = tokio::io::duplex(1 << 20);
    let mut receive = Receive::new(pool(), 1 << 20);
    near.write_all(&frame(100_000)).await.unwrap();
    drop(next(&mut receive, &mut far).await);
    near.write_all(&frame(100_000)).await.unwrap();
    drop(next(&mut receive, &mut far).await);
    let memory = receive.allocated;
    for _ in 0..20 {
        near.write_all(&frame(100_000)).await.unwrap();
        let taken = next(&mut receive, &mut far).await;
        assert_eq!(taken.payload.len(), 100_008);
        drop(taken);
        assert_eq!(receive.allocated, memory);
    }
}

#[tokio::test]
async fn an_idle_connection_gives_its_buffer_back() {
    let (mut near, mut far) = tokio::io::duplex(1 << 20);
    let pool = pool();
    let mut receive = Receive::new(pool.clone(), 1 << 30);
    assert!(!receive.can_shrink());
    near.write_all(&frame(1_000_000)).await.unwrap();
    drop(next(&mut receive, &mut far).await);
    assert!(receive.can_shrink());
    assert!(pool.used() >= 1_000_000, "the retained buffer is accounted for");
    receive.shrink();
    assert_eq!((receive.allocated, pool.used()), (0, 0));
}

#[tokio::test]
async fn small_requests_leave_no_buffer_behind() {
    let (mut near, mut far) = tokio::io::duplex(1 << 20);
    let mut receive = Receive::new(pool(), 1 << 20);
    for _ in 0..3 {
        near.write_all(&frame(200)).await.unwrap();
        let waiting = next(&mut receive, &mut far).await;
        assert_eq!((waiting.payload.len(), receive.allocated), (208, 0));
    }
    // A burst of them is taken out of one buffer.
    let burst: Vec<u8> = (0..100).flat_map(|_| frame(200)).collect();
    near.write_all(&burst).await.unwrap();
    for _ in 0..100 {
        assert_eq!(next(&mut receive, &mut far).await.payload.len(), 208);
    }
    assert_eq!(receive.allocated, 0);
}
