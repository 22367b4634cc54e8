package worker

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/memory"
	"github.com/payload-manager/payload-manager/catalog/postgres"
	"github.com/payload-manager/payload-manager/catalog/sqlite"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/disk"
	"github.com/payload-manager/payload-manager/tiers/object"
	"github.com/payload-manager/payload-manager/worker/config"
)

// openStore opens the catalog's store.
func (w *Worker) openStore(ctx context.Context, c config.Config) (catalog.Store, error) {
	store, err := storeAt(ctx, c.Catalog.URL)
	if err != nil {
		return nil, err
	}
	w.onStop("catalog", func(context.Context) error { return store.Close() })
	return store, nil
}

func storeAt(ctx context.Context, url string) (catalog.Store, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "memory":
		return memory.New(), nil
	case "sqlite":
		if err := os.MkdirAll(filepath.Dir(rest), 0o700); err != nil {
			return nil, err
		}
		return sqlite.Open(ctx, rest)
	case "postgres", "postgresql":
		return postgres.Open(ctx, url)
	default:
		return nil, payload.Errorf(payload.Invalid, "catalog.url begins with %q: use sqlite:PATH, postgres://… or memory:", scheme)
	}
}

// openTiers opens the tiers that are on.
func (w *Worker) openTiers(ctx context.Context, c config.Config, key []byte) (*tiers.Set, error) {
	var open []tiers.Tier
	if c.Tiers.RAM.Enabled {
		memory, err := w.openMemory(ctx, c, key)
		if err != nil {
			return nil, err
		}
		open = append(open, memory)
	}
	if c.Tiers.Disk.Enabled {
		files, err := disk.Open(disk.Options{Dir: c.Tiers.Disk.Dir, Capacity: int64(c.Tiers.Disk.Capacity), Log: w.log})
		if err != nil {
			return nil, err
		}
		open = append(open, files)
	}
	if c.Tiers.Object.Enabled {
		bucket, err := openBucket(ctx, c.Tiers.Object)
		if err != nil {
			return nil, err
		}
		open = append(open, bucket)
	}
	set := tiers.NewSet(open...)
	w.onStop("tiers", func(context.Context) error { return set.Close() })
	return set, nil
}

func openBucket(ctx context.Context, c config.Object) (tiers.Tier, error) {
	secret := c.SecretKey
	if c.SecretKeyFile != "" {
		content, err := os.ReadFile(c.SecretKeyFile)
		if err != nil {
			return nil, payload.Errorf(payload.Invalid, "tiers.object.secret_key_file cannot be read: %w", err)
		}
		secret = strings.TrimSpace(string(content))
	}
	return object.Open(ctx, object.Options{
		Endpoint: c.Endpoint, Secure: c.Secure, Region: c.Region, Bucket: c.Bucket, Prefix: c.Prefix,
		AccessKey: c.AccessKey, SecretKey: secret, Capacity: int64(c.Capacity),
	})
}
