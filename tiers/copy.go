package tiers

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Copy is the bytes of one sealed location on their way to another that was
// created for them.
type Copy struct {
	From, To payload.Tier
	Source   string // location in From, sealed
	Target   string // location in To, created and not sealed
	Size     int64
	Want     payload.Checksum // what the bytes must sum up to, if it is known
}

// Copy copies, sums and seals, and returns the checksum. Pieces travel in
// parallel, each by the shortest way that the pair allows:
//
//	source is mapped        the target writes straight from the mapping
//	else target is mapped   the source reads straight into the mapping
//	else                    through page-aligned buffers, which are reused
//
// The checksum is taken over the target's memory where it is mapped, and else
// over the bytes handed to it to write; the object tier has the server verify
// its own checksum of each of them besides.
//
// progress, which may be nil, hears after each piece how many bytes have
// arrived; calls do not overlap, and the number only rises. Where Copy fails it
// has not sealed the target, or could not know that it did; its caller removes
// it. A target that an earlier run of the same copy sealed is summed again.
//
// Codes: Corrupt when the bytes are not those wanted, NotFound, Exhausted, and
// Unavailable when ctx ended or a storage cannot be reached.
func (s *Set) Copy(ctx context.Context, c Copy, progress func(done int64)) (payload.Checksum, error) {
	to, err := s.Tier(c.To)
	if err != nil {
		return payload.Checksum{}, err
	}
	source, err := s.open(ctx, c.From, c.Source, c.Size)
	if err != nil {
		return payload.Checksum{}, err
	}
	defer source.Close()
	sum, err := s.fill(ctx, source, to, c, progress)
	if err != nil {
		return payload.Checksum{}, err
	}
	if c.Want.Known() && sum != c.Want {
		return payload.Checksum{}, corrupt(sum, c.Want)
	}
	if err := to.Seal(ctx, c.Target); err != nil {
		return payload.Checksum{}, err
	}
	return sum, nil
}

// Sum returns the checksum of sealed bytes: the storage's own where it keeps
// one, else by reading them. Code Corrupt when there are not size of them.
func (s *Set) Sum(ctx context.Context, tier payload.Tier, location string, size int64) (payload.Checksum, error) {
	source, err := s.open(ctx, tier, location, size)
	if err != nil {
		return payload.Checksum{}, err
	}
	defer source.Close()
	if kept, ok := source.(Summed); ok && kept.Checksum().Known() {
		return kept.Checksum(), nil
	}
	if size <= Small {
		return sumSmall(ctx, source, size)
	}
	return s.each(ctx, size, nil, func(ctx context.Context, p Piece) (payload.Checksum, error) {
		bytes, done, err := s.read(ctx, source, p)
		defer done()
		return sumUnless(err, bytes)
	})
}

var smallBuffers = sync.Pool{New: func() any { return new([Small]byte) }}

func sumSmall(ctx context.Context, source Source, size int64) (payload.Checksum, error) {
	buffer := smallBuffers.Get().(*[Small]byte)
	defer smallBuffers.Put(buffer)
	bytes := buffer[:size]
	return sumUnless(source.ReadAt(ctx, bytes, 0), bytes)
}

func (s *Set) open(ctx context.Context, tier payload.Tier, location string, size int64) (Source, error) {
	from, err := s.Tier(tier)
	if err != nil {
		return nil, err
	}
	source, err := from.Open(ctx, location)
	if err != nil {
		return nil, err
	}
	if source.Size() != size {
		source.Close()
		return nil, payload.Errorf(payload.Corrupt, "%d bytes are there instead of %d", source.Size(), size)
	}
	return source, nil
}

// fill copies without sealing. The target is closed when it returns: a mapping
// of ours would keep it from being sealed.
func (s *Set) fill(ctx context.Context, source Source, to Tier, c Copy, progress func(int64)) (sum payload.Checksum, err error) {
	target, err := to.Fill(ctx, c.Target)
	if payload.CodeOf(err) == payload.Conflict {
		return s.Sum(ctx, c.To, c.Target, c.Size)
	}
	if err != nil {
		return payload.Checksum{}, err
	}
	defer func() {
		if closed := target.Close(); err == nil {
			err = closed
		}
	}()
	return s.each(ctx, c.Size, progress, func(ctx context.Context, p Piece) (payload.Checksum, error) {
		return s.carry(ctx, source, target, p)
	})
}

// carry copies one piece and sums it up: over the target's memory if it is
// mapped, else over what the target was handed.
func (s *Set) carry(ctx context.Context, source Source, target Target, p Piece) (payload.Checksum, error) {
	to, mapped := target.(Mapped)
	_, readable := source.(Mapped)
	if mapped {
		populate(p.of(to.Bytes()))
	}
	if mapped && !readable {
		arrived := p.of(to.Bytes())
		err := source.ReadAt(ctx, arrived, p.Offset)
		return sumUnless(err, arrived)
	}
	bytes, done, err := s.read(ctx, source, p)
	defer done()
	if err == nil {
		err = target.WriteAt(ctx, bytes, p.Offset)
	}
	if mapped {
		bytes = p.of(to.Bytes())
	}
	return sumUnless(err, bytes)
}

func sumUnless(err error, bytes []byte) (payload.Checksum, error) {
	if err != nil {
		return payload.Checksum{}, err
	}
	return payload.Sum(bytes), nil
}

// populate has the kernel map a piece of a target at once: a fault for each page
// costs more than the bytes on it. It is advice, which Linux takes from 5.14 on.
func populate(bytes []byte) {
	if len(bytes) > 0 {
		_ = unix.Madvise(bytes, unix.MADV_POPULATE_WRITE)
	}
}

// read returns the bytes of a piece: a part of the source's mapping, or a
// buffer that is free again after done.
func (s *Set) read(ctx context.Context, source Source, p Piece) (bytes []byte, done func(), err error) {
	if from, ok := source.(Mapped); ok {
		return p.of(from.Bytes()), func() {}, nil
	}
	bytes, done = s.buffers.get(p.Size)
	return bytes, done, source.ReadAt(ctx, bytes, p.Offset)
}

func (p Piece) of(whole []byte) []byte { return whole[p.Offset : p.Offset+p.Size] }

// each runs step over the pieces of size bytes, several at a time, and combines
// their checksums. The first error ends it.
func (s *Set) each(ctx context.Context, size int64, progress func(int64), step func(context.Context, Piece) (payload.Checksum, error)) (payload.Checksum, error) {
	pieces := Pieces(size)
	sums := make([]payload.Checksum, len(pieces))
	report := reporter(progress)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(abreast(size))
	for i, p := range pieces {
		group.Go(func() (err error) {
			if err := Interrupted(ctx); err != nil {
				return err
			}
			if sums[i], err = step(ctx, p); err == nil {
				report(p.Size)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return payload.Checksum{}, err
	}
	return combined(pieces, sums), nil
}

func combined(pieces []Piece, sums []payload.Checksum) payload.Checksum {
	whole := sums[0]
	for i, next := range sums[1:] {
		whole = whole.Then(next, pieces[i+1].Size)
	}
	return whole
}

// reporter adds up pieces that arrive in parallel.
func reporter(progress func(int64)) func(int64) {
	if progress == nil {
		return func(int64) {}
	}
	var mu sync.Mutex
	var done int64
	return func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		progress(done)
	}
}

// abreast is how many pieces of a payload of this size travel at a time: four
// keep one device and two cores busy, fewer where pieces are so long that their
// buffers would take more than 256 MiB.
func abreast(size int64) int {
	const most, memory = 4, 256 << 20
	return int(max(1, min(most, memory/PieceSizeFor(size))))
}

func corrupt(got, want payload.Checksum) error {
	return payload.Errorf(payload.Corrupt, "the bytes sum up to %v, not %v", got, want)
}
