package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// span is how long one measurement of throughput lasts: short enough that the
// payloads of one fit into the 20,000 file descriptors that many systems allow.
const span = 1500 * time.Millisecond

// throughput runs do from many callers for a span, and returns how often it
// came back per second. The first error ends it.
func throughput(ctx context.Context, callers int, do func(context.Context) error) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, span+time.Minute)
	defer cancel()
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	began := time.Now()
	for range callers {
		all.Go(func() {
			for time.Since(began) < span && failed.Load() == nil {
				if err := do(ctx); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(began).Seconds(), nil
}

// compare measures two loads in interleaved rounds. Odd rounds begin with the
// other one. tidy, which may be nil, runs between rounds and is not measured.
func (b *bench) compare(f *figure, callers int, ours, base func(context.Context) error, tidy func() error) error {
	for round := range b.rounds {
		rates := map[bool]float64{}
		for _, isOurs := range []bool{round%2 == 0, round%2 != 0} {
			load := base
			if isOurs {
				load = ours
			}
			rate, err := throughput(b.ctx, callers, load)
			if err != nil {
				return err
			}
			rates[isOurs] = rate
		}
		f.add(rates[true], rates[false])
		if tidy == nil {
			continue
		}
		if err := tidy(); err != nil {
			return err
		}
	}
	f.print()
	return nil
}
