package memory_test

import (
	"testing"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/catalogtest"
	"github.com/payload-manager/payload-manager/catalog/memory"
)

func TestStore(t *testing.T) {
	catalogtest.RunStore(t, func(t *testing.T) catalog.Store {
		s := memory.New()
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}
