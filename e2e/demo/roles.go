package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Produced is what a producer says of a file. Only this goes through the
// pipeline.
type Produced struct {
	ID       payload.ID       `json:"id"`
	File     string           `json:"file"`
	Size     int64            `json:"size"`
	Checksum payload.Checksum `json:"checksum"`
	Took     time.Duration    `json:"took"` // allocate, read the file into memory, commit
	Traffic  Traffic          `json:"traffic"`
}

// Consumed is what a consumer says.
type Consumed struct {
	Tier     payload.Tier     `json:"tier"`
	Opened   time.Duration    `json:"opened"` // from the id to mapped bytes
	Read     time.Duration    `json:"read"`   // every byte once, for the checksum
	Checksum payload.Checksum `json:"checksum"`
	Traffic  Traffic          `json:"traffic"`
}

// dial connects with a counter that knows the file.
func dial(ctx context.Context, socket, file string) (*sdk.Client, *counter, error) {
	m, err := markerOf(file)
	if err != nil {
		return nil, nil, err
	}
	c := &counter{marker: m}
	client, err := sdk.Dial(ctx, socket, sdk.WithGRPC(grpc.WithStatsHandler(c)))
	return client, c, err
}

// produce puts one file into shared memory: the file is read straight into it.
func produce(ctx context.Context, socket string, args []string) error {
	out, err := produceFile(ctx, socket, args[0])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func produceFile(ctx context.Context, socket, path string) (Produced, error) {
	client, counted, err := dial(ctx, socket, path)
	if err != nil {
		return Produced{}, err
	}
	defer client.Close()
	file, err := os.Open(path)
	if err != nil {
		return Produced{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Produced{}, err
	}
	began := time.Now()
	w, err := client.Allocate(ctx, info.Size(), sdk.WithName(filepath.Base(path)), sdk.WithTTL(time.Hour), sdk.WithLifecycle(payload.LifecycleOwn))
	if err != nil {
		return Produced{}, err
	}
	if _, err := io.ReadFull(file, w.Bytes()); err != nil {
		return Produced{}, err
	}
	sum := payload.Sum(w.Bytes())
	p, err := w.Commit(ctx)
	return Produced{ID: w.ID(), File: path, Size: p.Size, Checksum: sum, Took: time.Since(began), Traffic: counted.traffic()}, err
}

// consume leases a payload, maps it, and reads every byte.
func consume(ctx context.Context, socket string, args []string) error {
	id, err := payload.ParseID(args[0])
	if err != nil {
		return err
	}
	out, err := consumeID(ctx, socket, id, args[1])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func consumeID(ctx context.Context, socket string, id payload.ID, file string) (Consumed, error) {
	client, counted, err := dial(ctx, socket, file)
	if err != nil {
		return Consumed{}, err
	}
	defer client.Close()
	began := time.Now()
	r, err := client.Open(ctx, id)
	if err != nil {
		return Consumed{}, err
	}
	defer r.Close()
	content, err := r.Bytes()
	if err != nil {
		return Consumed{}, err
	}
	opened := time.Now()
	sum := payload.Sum(content)
	return Consumed{
		Tier: r.Descriptor().Tier, Opened: opened.Sub(began), Read: time.Since(opened), Checksum: sum, Traffic: counted.traffic(),
	}, nil
}
