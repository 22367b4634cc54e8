package catalogtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/payload-manager/payload-manager/catalog"
)

// BenchStore measures what a producer costs: one operation is an allocation
// and a commit, each with a request id, as the façade sends them. It reports
// steps a second with one caller and with many.
func BenchStore(b *testing.B, open func(b *testing.B) catalog.Store) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("produce/callers=%d", callers), func(b *testing.B) { produce(b, open(b), callers) })
	}
	b.Run("get/callers=1", func(b *testing.B) { look(b, open(b)) })
}

func produce(b *testing.B, s catalog.Store, callers int) {
	var next atomic.Int64
	var everyone sync.WaitGroup
	b.ResetTimer()
	for range callers {
		everyone.Go(func() {
			for n := int(next.Add(1)); n <= b.N; n = int(next.Add(1)) {
				for _, step := range wholeLife(n)[:2] {
					if _, err := s.Do(context.Background(), step); err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	everyone.Wait()
	b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "steps/s")
}

func look(b *testing.B, s catalog.Store) {
	const payloads = 1000
	for n := range payloads {
		if _, err := s.Do(context.Background(), allocated(n)); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for n := range b.N {
		if _, err := s.Get(context.Background(), id(n%payloads)); err != nil {
			b.Fatal(err)
		}
	}
}
