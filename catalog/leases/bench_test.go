package leases_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// BenchmarkGrantAndRelease is the hot path's share of this package: it should
// stay near a microsecond, and the same with a million other leases.
func BenchmarkGrantAndRelease(b *testing.B) {
	for _, others := range []int{0, 1_000, 1_000_000} {
		b.Run(fmt.Sprintf("beside-%d", others), func(b *testing.B) {
			table, k := crowded(b, others)
			b.ReportAllocs()
			for b.Loop() {
				pair(b, table, k)
			}
		})
	}
	b.Run("parallel-beside-1000000", func(b *testing.B) {
		table, k := crowded(b, 1_000_000)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				pair(b, table, k)
			}
		})
	})
}

func BenchmarkRenewBesideAMillion(b *testing.B) {
	table, k := crowded(b, 1_000_000)
	g := granted(b, table, leases.Ask{Key: k})
	for b.Loop() {
		if _, err := table.Renew(g.ID, payload.DefaultLease); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBoottime(b *testing.B) {
	for b.Loop() {
		leases.Boottime()
	}
}

func pair(b *testing.B, table *leases.Table, k leases.Key) {
	g, err := table.Grant(leases.Ask{Key: k, Session: "bench", Holder: "bench"})
	if err != nil {
		b.Error(err)
	}
	if err := table.Release(g.ID); err != nil {
		b.Error(err)
	}
}

func crowded(b *testing.B, others int) (*leases.Table, leases.Key) {
	table := leases.New(leases.Boottime)
	b.Cleanup(table.Stop)
	k := opened(b, table)
	for i := range others {
		granted(b, table, leases.Ask{Key: k, Session: fmt.Sprint("s", i%1000), Duration: payload.MaxLease - 1})
	}
	runtime.GC() // of what making the crowd left behind
	b.ResetTimer()
	return table, k
}
