package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The count of payload bytes is worth something only if it would find them.
func TestALeakWouldBeFound(t *testing.T) {
	content := make([]byte, 100_000)
	rand.Read(content)
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	m, err := markerOf(path)
	require.NoError(t, err)
	require.Len(t, m, pieces)

	c := &counter{marker: m}
	c.HandleRPC(t.Context(), &stats.InPayload{Payload: wrapperspb.Bytes([]byte("a descriptor")), WireLength: 20})
	require.Equal(t, Traffic{Messages: 1, Bytes: 20}, c.traffic())

	c.HandleRPC(t.Context(), &stats.OutPayload{Payload: wrapperspb.Bytes(content[:len(content)/2]), WireLength: 50_000})
	require.Positive(t, c.traffic().Payload, "half of the file was in a message")
}

func TestPaddingIsNoMarker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zeros")
	require.NoError(t, os.WriteFile(path, make([]byte, 100_000), 0o600))
	m, err := markerOf(path)
	require.NoError(t, err)
	require.Empty(t, m)
}
