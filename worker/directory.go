package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// keySize is the length of the host's secret: as long as the SHA-256 that it
// keys (RFC 2104 section 3).
const keySize = 32

// ownDirectory takes the data directory for this daemon alone, and returns the
// host's key, which it makes the first time.
func (w *Worker) ownDirectory(dir string) (key []byte, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, payload.Errorf(payload.Unavailable, "the data directory cannot be made: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, payload.Errorf(payload.Unavailable, "the data directory cannot be locked: %w", err)
	}
	if !held {
		return nil, payload.Errorf(payload.AlreadyExists, "another daemon runs on this data directory: stop it, or give this one a data_dir of its own")
	}
	w.onStop("lock", func(context.Context) error { return lock.Unlock() })
	return hostKey(filepath.Join(dir, "host.key"))
}

// hostKey reads the key file, or makes it: whole or not at all, and readable by
// the daemon's user alone.
func hostKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeHostKey(path)
	case err != nil:
		return nil, err
	case len(key) != keySize:
		return nil, payload.Errorf(payload.Corrupt, "the host key is %d bytes long, not %d: remove it to have a new one made; tokens handed out before are worth nothing then", len(key), keySize)
	}
	return key, nil
}

func makeHostKey(path string) ([]byte, error) {
	key := make([]byte, keySize)
	rand.Read(key) // never fails: crypto/rand ends the process instead
	fresh := path + ".new"
	if err := os.WriteFile(fresh, key, 0o600); err != nil {
		return nil, err
	}
	return key, os.Rename(fresh, path)
}
