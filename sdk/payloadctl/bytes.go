package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func (t *terminal) put() *cobra.Command {
	var asked putting
	c := &cobra.Command{
		Use: "put FILE|-", Short: "Store a file, or the standard input, as a new payload", Args: cobra.ExactArgs(1),
		RunE: t.with(func(ctx context.Context, client *sdk.Client, args []string) error {
			return t.putFile(ctx, client, args[0], asked)
		}),
	}
	flags := c.Flags()
	flags.StringVar(&asked.name, "name", "", "for people (default: the file's)")
	flags.DurationVar(&asked.ttl, "ttl", 0, "how long it lives, such as 90m or 720h (default: until it is removed)")
	flags.StringVar(&asked.tier, "tier", "", "where it goes first: ram, disk or object (default ram)")
	flags.StringVar(&asked.lifecycle, "lifecycle", "", "the shape of its workflow: auto, own or group (default auto)")
	complete(c, "tier", tierNames()...)
	complete(c, "lifecycle", string(payload.LifecycleAuto), string(payload.LifecycleOwn), string(payload.LifecycleGroup))
	return c
}

type putting struct {
	name, tier, lifecycle string
	ttl                   time.Duration
}

func (p putting) options(report func(bytes int64)) []sdk.AllocateOption {
	return []sdk.AllocateOption{
		sdk.WithName(p.name), sdk.WithTTL(p.ttl), sdk.WithTier(payload.Tier(p.tier)),
		sdk.WithLifecycle(payload.LifecycleKind(p.lifecycle)), sdk.WithProgress(report),
	}
}

func (t *terminal) putFile(ctx context.Context, client *sdk.Client, path string, asked putting) error {
	file, size, err := t.source(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if asked.name == "" && path != "-" {
		asked.name = filepath.Base(path)
	}
	shown := t.measure("put", size)
	p, err := client.Put(ctx, file, size, asked.options(shown.add)...)
	shown.done()
	if err != nil {
		return err
	}
	return t.asItIs(ctx, client, p.ID)
}

// source opens what is to be put and says how long it is, which has to be known
// before room is reserved: what does not know its length, such as a pipe, is
// copied to a temporary file first.
func (t *terminal) source(path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return spool(t.in)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, usageError{err}
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		file.Close()
		return nil, 0, err
	case info.IsDir():
		file.Close()
		return nil, 0, usageError{fmt.Errorf("%s is a folder: put its files one by one, or an archive of them", path)}
	case !info.Mode().IsRegular():
		defer file.Close()
		return spool(file)
	default:
		return file, info.Size(), nil
	}
}

// spool copies r to a file that nobody else sees and that is gone once closed.
func spool(r io.Reader) (io.ReadCloser, int64, error) {
	file, err := os.CreateTemp("", "payloadctl-*")
	if err != nil {
		return nil, 0, err
	}
	size, err := io.Copy(file, r)
	if err = errors.Join(os.Remove(file.Name()), err); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, size, nil
}

func (t *terminal) cat() *cobra.Command {
	var how reads
	var unverified bool
	c := t.onePayload("cat", "Write a payload's bytes to the standard output", func(ctx context.Context, client *sdk.Client, id payload.ID) error {
		options := how.options()
		if unverified {
			options = append(options, sdk.Unverified())
		}
		reader, err := client.Open(ctx, id, options...)
		if err != nil {
			return err
		}
		return errors.Join(t.pour(ctx, reader), reader.Close())
	})
	how.flags(c)
	c.Flags().BoolVar(&unverified, "unverified", false, "do not compare the bytes with their checksum first")
	return c
}

// pourPiece is how much is written between two looks at Ctrl-C.
const pourPiece = 4 << 20 // bytes

// pour writes straight from the payload's memory.
func (t *terminal) pour(ctx context.Context, reader *sdk.Reader) error {
	shown := t.measure("cat", reader.Size())
	defer shown.done()
	left, err := reader.Bytes()
	for err == nil && len(left) > 0 && ctx.Err() == nil {
		var n int
		n, err = t.out.Write(left[:min(pourPiece, len(left))])
		left = left[n:]
		shown.add(int64(n))
	}
	return errors.Join(err, context.Cause(ctx))
}
