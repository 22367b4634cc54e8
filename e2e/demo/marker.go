package main

import (
	"bytes"
	"context"
	"os"
	"sync/atomic"

	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"
)

// A marker is some pieces of a file, by which its bytes are recognised wherever
// they may have leaked to.
type marker [][]byte

const (
	pieceLength = 32
	pieces      = 16
)

// markerOf takes pieces from all over a file. Pieces of few different bytes,
// such as padding, would be found anywhere and prove nothing.
func markerOf(path string) (marker, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	var m marker
	for i := range int64(pieces * 8) {
		piece := make([]byte, pieceLength)
		offset := i * (info.Size() - pieceLength) / (pieces * 8)
		if offset < 0 {
			break
		}
		if _, err := file.ReadAt(piece, offset); err != nil {
			return nil, err
		}
		if varied(piece) && len(m) < pieces {
			m = append(m, piece)
		}
	}
	return m, nil
}

func varied(piece []byte) bool {
	var seen [256]bool
	different := 0
	for _, b := range piece {
		if !seen[b] {
			seen[b] = true
			different++
		}
	}
	return different >= pieceLength/2
}

// found counts the bytes of m's pieces that text holds.
func (m marker) found(text []byte) (count int64) {
	for _, piece := range m {
		count += int64(bytes.Count(text, piece)) * pieceLength
	}
	return count
}

// Traffic is what a process sent and received over gRPC.
type Traffic struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
	Payload  int64 `json:"payload"` // of the file, found in them
}

// A counter is a gRPC stats handler that counts messages, and searches them.
type counter struct {
	marker                   marker
	messages, bytes, payload atomic.Int64
}

func (c *counter) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch m := s.(type) {
	case *stats.InPayload:
		c.count(m.Payload, m.WireLength)
	case *stats.OutPayload:
		c.count(m.Payload, m.WireLength)
	}
}

func (c *counter) count(message any, length int) {
	c.messages.Add(1)
	c.bytes.Add(int64(length))
	if m, ok := message.(proto.Message); ok {
		text, err := proto.Marshal(m)
		if err != nil {
			text = nil // cannot be: it was on the wire
		}
		c.payload.Add(c.marker.found(text))
	}
}

func (c *counter) traffic() Traffic {
	return Traffic{Messages: c.messages.Load(), Bytes: c.bytes.Load(), Payload: c.payload.Load()}
}

func (t Traffic) plus(other Traffic) Traffic {
	return Traffic{t.Messages + other.Messages, t.Bytes + other.Bytes, t.Payload + other.Payload}
}

func (*counter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*counter) HandleConn(context.Context, stats.ConnStats)                       {}
