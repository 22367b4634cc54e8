package disk

import (
	"path"
	"sync"

	"github.com/payload-manager/payload-manager/tiers"
)

// folders remembers which fan-out folders this process made durable. There are
// 65,792 at most.
type folders struct {
	mu    sync.Mutex
	known map[string]bool
}

// fanOut makes the two folders of a label durable, each with its parent. One
// that a process before us made may not have been.
func (t *Tier) fanOut(label tiers.Label) error {
	outer, inner := fan(label)
	t.fanned.mu.Lock()
	defer t.fanned.mu.Unlock()
	if err := t.fanned.make(t.files, sealed, outer); err != nil {
		return err
	}
	return t.fanned.make(t.files, path.Join(sealed, outer), inner)
}

func (f *folders) make(files files, parent, child string) error {
	name := path.Join(parent, child)
	if f.known[name] {
		return nil
	}
	if err := files.makeFolder(name); err != nil {
		return err
	}
	if err := files.syncFolder(parent); err != nil {
		return err
	}
	if f.known == nil {
		f.known = make(map[string]bool)
	}
	f.known[name] = true
	return nil
}
