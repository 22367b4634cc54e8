package access

import (
	"runtime"
	"sync"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// piece is how many bytes are summed, sent or fetched as one: 16 MiB, as the
// daemon cuts payloads.
const piece = 16 << 20

// Sum is the checksum of bytes, by as many processors as there are to help.
func Sum(bytes []byte) payload.Checksum {
	sums := make([]payload.Checksum, (len(bytes)+piece-1)/piece)
	if len(sums) < 2 {
		return payload.Sum(bytes)
	}
	var workers sync.WaitGroup
	stride := min(runtime.GOMAXPROCS(0), len(sums))
	for first := range stride {
		workers.Go(func() {
			for i := first; i < len(sums); i += stride {
				sums[i] = payload.Sum(cut(bytes, i))
			}
		})
	}
	workers.Wait()
	whole := sums[0]
	for i, sum := range sums[1:] {
		whole = whole.Then(sum, int64(len(cut(bytes, i+1))))
	}
	return whole
}

func cut(bytes []byte, i int) []byte { return bytes[i*piece : min((i+1)*piece, len(bytes))] }

// verify sums the bytes and compares. Where no checksum is wanted it does
// nothing. Its error has code Corrupt.
func verify(bytes []byte, want payload.Checksum) error {
	if !want.Known() || Sum(bytes) == want {
		return nil
	}
	return payload.Errorf(payload.Corrupt, "the bytes differ from their checksum: do not use them")
}
