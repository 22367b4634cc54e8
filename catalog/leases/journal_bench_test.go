package leases_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// BenchmarkJournaledGrantAndRelease is BenchmarkGrantAndRelease with a journal:
// the difference is what surviving a kill costs.
func BenchmarkJournaledGrantAndRelease(b *testing.B) {
	for _, others := range []int{0, 1_000, 1_000_000} {
		b.Run(fmt.Sprintf("beside-%d", others), func(b *testing.B) {
			d, k := journaledCrowd(b, others)
			b.ReportAllocs()
			for b.Loop() {
				pair(b, d.Table, k)
			}
		})
	}
}

// BenchmarkOpen is what a restart waits for. An hour of them is not garbage:
// every lease is held.
func BenchmarkOpen(b *testing.B) {
	for _, held := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(held), func(b *testing.B) {
			d, _ := journaledCrowd(b, held)
			for b.Loop() {
				d.Stop()
				d.start()
			}
			require.Equal(b, held, d.Summary().Count)
		})
	}
}

// BenchmarkBesideCompaction gives the latency of a grant and its release while
// the journal is compacted over and over, and while it is not.
func BenchmarkBesideCompaction(b *testing.B) {
	for _, compacting := range []bool{false, true} {
		for _, held := range []int{100_000, 1_000_000} {
			b.Run(fmt.Sprintf("compacting-%v/beside-%d", compacting, held), func(b *testing.B) {
				d, k := journaledCrowd(b, held)
				var stop atomic.Bool
				count, done := 0, make(chan struct{})
				go func() {
					defer close(done)
					for compacting && !stop.Load() {
						if err := d.Compact(); err != nil {
							b.Error(err)
							return
						}
						count++
					}
				}()
				took := make([]time.Duration, 0, b.N)
				for b.Loop() {
					begin := time.Now()
					pair(b, d.Table, k)
					took = append(took, time.Since(begin))
				}
				stop.Store(true)
				<-done
				report(b, took)
				b.ReportMetric(float64(count), "compactions")
			})
		}
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	micros := func(i int) float64 { return float64(took[i].Nanoseconds()) / 1e3 }
	b.ReportMetric(micros(len(took)/2), "p50-µs")
	b.ReportMetric(micros(len(took)*999/1000), "p99.9-µs")
	b.ReportMetric(micros(len(took)-1), "max-µs")
	slow, _ := slices.BinarySearch(took, time.Millisecond)
	b.ReportMetric(float64(len(took)-slow), "over-1ms")
}

func journaledCrowd(b *testing.B, others int) (*daemon, leases.Key) {
	d := &daemon{t: b, now: leases.Boottime, journal: leases.Journal{Path: filepath.Join(b.TempDir(), "leases.journal"), BootID: boot}}
	d.start()
	b.Cleanup(func() { d.Stop() })
	k := opened(b, d.Table)
	for i := range others {
		granted(b, d.Table, leases.Ask{Key: k, Session: fmt.Sprint("s", i%1000), Holder: "a reader", Duration: payload.MaxLease - 1})
	}
	runtime.GC() // of what making the crowd left behind
	b.ResetTimer()
	return d, k
}
