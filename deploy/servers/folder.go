package servers

import (
	"os"
	"path/filepath"
)

// prepare makes the folder for a server's data and returns its absolute path,
// because a server may change its working directory. Empty stays empty.
func prepare(folder string) (string, error) {
	if folder == "" {
		return "", nil
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	return folder, os.MkdirAll(folder, 0o700)
}

// temporary makes a folder that remove takes away again.
func temporary(name string) (folder string, remove func(), err error) {
	folder, err = os.MkdirTemp("", name)
	return folder, func() { _ = os.RemoveAll(folder) }, err
}

// environment is what a server is told, and nothing of ours beside it.
func environment(own ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "LC_ALL=C", "TZ=UTC"}, own...)
}
