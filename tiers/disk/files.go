package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/tiers"
)

// files is every step that the tier takes on its file system, so that a test
// can stop between any two of them. Names are relative to the tier's folder.
type files interface {
	reserve(label tiers.Label) error // filling/LABEL appears, in full
	open(name string, flag int) (*os.File, error)
	sync(file *os.File) error     // the bytes and the mode are durable
	makeFolder(name string) error // it may be there already
	syncFolder(name string) error // its entries are durable
	rename(from, to string) error
	remove(name string) error
	sweep() error // what reserve did not finish goes
	list(visit func(label tiers.Label, sealed bool) error) error
	free() (int64, error) // bytes that the file system has left
	close() error
}

const (
	filling  = "filling"
	sealed   = "sealed"
	fresh    = ".new"
	folders0 = 0o700
)

// folder is the real file system below one folder.
type folder struct{ root *os.Root }

// openFolder makes the folder and the two in it, durably.
func openFolder(dir string) (folder, error) {
	if err := os.MkdirAll(dir, folders0); err != nil {
		return folder{}, err
	}
	if err := syncPath(filepath.Dir(filepath.Clean(dir))); err != nil {
		return folder{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return folder{}, err
	}
	f := folder{root}
	if err := errors.Join(f.makeFolder(filling), f.makeFolder(sealed), f.syncFolder(".")); err != nil {
		root.Close()
		return folder{}, err
	}
	return f, nil
}

// syncPath makes the entries of a folder outside the root durable.
func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (f folder) reserve(label tiers.Label) error {
	name := fillingName(label)
	if err := f.remove(name + fresh); err != nil {
		return err
	}
	file, err := f.open(name+fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := allocate(file, label.Size); err != nil {
		return errors.Join(err, f.remove(name+fresh))
	}
	return f.rename(name+fresh, name)
}

func allocate(file *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	return unix.Fallocate(int(file.Fd()), 0, 0, size)
}

func (f folder) open(name string, flag int) (*os.File, error) {
	return f.root.OpenFile(name, flag, 0o600)
}

func (f folder) sync(file *os.File) error { return file.Sync() }

func (f folder) makeFolder(name string) error {
	if err := f.root.Mkdir(name, folders0); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (f folder) syncFolder(name string) error {
	d, err := f.root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (f folder) rename(from, to string) error { return f.root.Rename(from, to) }

func (f folder) remove(name string) error {
	if err := f.root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f folder) sweep() error {
	return f.each(filling, func(name string) error {
		if strings.HasSuffix(name, fresh) {
			return f.remove(name)
		}
		return nil
	})
}

// list goes through filling first: a file that is sealed meanwhile is met
// twice rather than not at all.
func (f folder) list(visit func(tiers.Label, bool) error) error {
	report := func(isSealed bool) func(string) error {
		return func(name string) error {
			label, err := tiers.ParseLabel(path.Base(name))
			if err != nil {
				return nil // none of ours
			}
			return visit(label, isSealed)
		}
	}
	if err := f.each(filling, report(false)); err != nil {
		return err
	}
	return f.each(sealed, func(a string) error {
		return f.each(a, func(b string) error { return f.each(b, report(true)) })
	})
}

// each visits the entries of a folder in portions: there may be millions.
func (f folder) each(dir string, visit func(name string) error) error {
	const portion = 1024
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(portion)
		for _, name := range names {
			if err := visit(path.Join(dir, name)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f folder) free() (int64, error) {
	d, err := f.root.Open(".")
	if err != nil {
		return 0, err
	}
	defer d.Close()
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &stat); err != nil {
		return 0, err
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

func (f folder) close() error { return f.root.Close() }
