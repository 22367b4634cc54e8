package servers

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// find returns the path of the program called name: the one that the variable
// env names, else one beside our own executable, else the pinned one in bin/ of
// the repository around the working directory, else one on PATH.
func find(name, env string) (string, error) {
	if path := os.Getenv(env); path != "" {
		return executable(path)
	}
	for _, folder := range ownFolders() {
		if path, err := executable(filepath.Join(folder, name)); err == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("%s is not here: run make tools, or name its path in %s", name, env)
}

func executable(path string) (string, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(found)
}

// ownFolders are those where our own build puts programs.
func ownFolders() []string {
	var folders []string
	if self, err := os.Executable(); err == nil {
		folders = append(folders, filepath.Dir(self))
	}
	if root, ok := repository(); ok {
		folders = append(folders, filepath.Join(root, "bin"))
	}
	return folders
}

// repository looks upward for our go.mod. Another project's bin/ is none of
// our business, so the module must be ours.
func repository() (string, bool) {
	folder, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		mod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module github.com/payload-manager/payload-manager\n")) {
			return folder, true
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", false
		}
		folder = parent
	}
}
