package vault_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// One segment into a vault and out again, by one caller and by many who do not
// wait for each other.
func BenchmarkKeepAndForget(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			socket, _ := process(b)
			c, file := connect(b, socket), memory(b, "x")
			var number atomic.Int64
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					label := strconv.FormatInt(number.Add(1), 10)
					if err := c.Keep(b.Context(), label, file); err != nil {
						b.Error(err)
					}
					if err := c.Forget(b.Context(), label); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkFetch(b *testing.B) {
	socket, _ := process(b)
	c, file := connect(b, socket), memory(b, "x")
	require.NoError(b, c.Keep(b.Context(), "a", file))
	for b.Loop() {
		got, err := c.Fetch(b.Context(), "a")
		require.NoError(b, err)
		require.NoError(b, got.Close())
	}
}

// How long a restarted daemon waits for what the vault has.
func BenchmarkListTenThousand(b *testing.B) {
	socket, _ := process(b)
	c, file := connect(b, socket), memory(b, "x")
	for n := range 10_000 {
		require.NoError(b, c.Keep(b.Context(), strconv.Itoa(n), file))
	}
	for b.Loop() {
		require.Len(b, list(b, c), 10_000)
	}
}
