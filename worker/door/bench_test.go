package door_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/access"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/worker/door"
)

// BenchmarkOpenAndMap is a token's way to memory, beside that of a plain file.
func BenchmarkOpenAndMap(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Run("plain-file", func(b *testing.B) {
		for b.Loop() {
			mapFile(b, path)
		}
	})
	b.Run("door", func(b *testing.B) {
		socket := filepath.Join(b.TempDir(), "door.sock")
		served, err := door.Listen(socket, desk{"read": reading(path, 0, 4096)}, silence())
		if err != nil {
			b.Fatal(err)
		}
		defer served.Close()
		client := access.NewDoor(socket)
		defer client.Close()
		b.ReportAllocs()
		for b.Loop() {
			mapToken(b, client)
		}
	})
}

func mapFile(b *testing.B, path string) {
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	bytes, err := unix.Mmap(int(file.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	file.Close()
	unix.Munmap(bytes)
}

func mapToken(b *testing.B, client *access.Door) {
	file, err := client.Open(b.Context(), payload.Token("read"))
	if err != nil {
		b.Fatal(err)
	}
	m, err := file.Map()
	if err != nil {
		b.Fatal(err)
	}
	m.Close()
}
