package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

const gibibyte = 1 << 30

// wire is a bare connection to the façade, so that calls are compared with
// calls, and not our client's conveniences with none.
func (b *bench) wire() (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+b.stack.Config.Listen.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (b *bench) twoEchoes(ctx context.Context) error {
	if err := b.echo.call(ctx); err != nil {
		return err
	}
	return b.echo.call(ctx)
}

// put makes a payload of size bytes in ram.
func (b *bench) put(size int64, options ...sdk.AllocateOption) (payload.Payload, error) {
	w, err := b.stack.Client.Allocate(b.ctx, size, options...)
	if err != nil {
		return payload.Payload{}, err
	}
	content := w.Bytes()
	for i := range content {
		content[i] = byte(i * 7)
	}
	return w.Commit(b.ctx)
}

// leases: acquire and release of a resident payload.
func (b *bench) leases() error {
	p, err := b.put(4096)
	if err != nil {
		return err
	}
	conn, err := b.wire()
	if err != nil {
		return err
	}
	defer conn.Close()
	leases := payloadv1.NewLeaseServiceClient(conn)
	acquire := &payloadv1.AcquireRequest{Id: p.ID.String(), Holder: "bench"}
	for _, callers := range []int{1, 64} {
		f := &figure{
			name: fmt.Sprintf("acquire and release of a resident payload, %d callers", callers),
			base: "two bare gRPC echoes", goal: "at least 0.70", unit: "pairs/s",
		}
		err := b.compare(f, callers, func(ctx context.Context) error {
			got, err := leases.Acquire(ctx, acquire)
			if err != nil {
				return err
			}
			_, err = leases.Release(ctx, &payloadv1.ReleaseRequest{Token: got.GetLease().GetToken()})
			return err
		}, b.twoEchoes, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// allocations: allocate and commit of 4 KiB on SQLite, without and with the
// bytes being written through the data door in between. What a round made is
// deleted after it: every payload in ram is a file descriptor of this process.
func (b *bench) allocations() error {
	conn, err := b.wire()
	if err != nil {
		return err
	}
	defer conn.Close()
	life := payloadv1.NewPayloadServiceClient(conn)
	f := &figure{name: "allocate and commit of 4 KiB on SQLite, 64 callers", base: "two bare gRPC echoes", goal: "at least 0.40", unit: "pairs/s"}
	err = b.compare(f, 64, func(ctx context.Context) error {
		got, err := life.Allocate(ctx, &payloadv1.AllocateRequest{Size: 4096})
		if err != nil {
			return err
		}
		_, err = life.Commit(ctx, &payloadv1.CommitRequest{Id: got.GetPayload().GetId()})
		return err
	}, b.twoEchoes, b.tidy)
	if err != nil {
		return err
	}
	written := &figure{name: "the same through the client, the bytes written and summed", base: "two bare gRPC echoes", goal: "none set", unit: "payloads/s"}
	return b.compare(written, 64, func(ctx context.Context) error {
		_, err := b.put(4096)
		return err
	}, b.twoEchoes, b.tidy)
}

// tidy prints what the outbox holds at the end of a round, then deletes every
// payload.
func (b *bench) tidy() error {
	b.printLag()
	var deletes errgroup.Group
	deletes.SetLimit(64)
	for p, err := range b.stack.Client.List(b.ctx, sdk.Filter{}) {
		if err != nil {
			return err
		}
		deletes.Go(func() error {
			_, err := b.stack.Client.Delete(b.ctx, p.ID)
			return err
		})
	}
	return deletes.Wait()
}

func (b *bench) printLag() {
	stats, err := b.stack.Client.Stats(b.ctx)
	if err != nil {
		fmt.Println("  outbox unknown:", err)
		return
	}
	fmt.Printf("  outbox at the end: %d entries, the oldest %v old (goal: under 5 s)\n", stats.Outbox, stats.OutboxLag.Round(time.Millisecond))
}

// opens: from an id to mapped bytes, against an echo and mapping a plain file.
func (b *bench) opens() error {
	for _, size := range []int64{4096, gibibyte} {
		p, err := b.put(size)
		if err != nil {
			return err
		}
		plain := filepath.Join("/dev/shm", filepath.Base(b.dir))
		if err := plainFile(plain, size); err != nil {
			return err
		}
		err = b.open(p, plain, size)
		os.Remove(plain)
		if err != nil {
			return err
		}
		if _, err := b.stack.Client.Delete(b.ctx, p.ID); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) open(p payload.Payload, plain string, size int64) error {
	const samples = 300
	f := &figure{
		name: fmt.Sprintf("open %d bytes in ram through a lease", size),
		base: "echo, then open and map a plain file in /dev/shm", goal: "at most 2", unit: "µs",
	}
	for range b.rounds {
		ours, base := make([]time.Duration, samples), make([]time.Duration, samples)
		for i := range samples {
			var err error
			if ours[i], err = b.openOurs(p); err != nil {
				return err
			}
			if base[i], err = b.openPlain(plain, size); err != nil {
				return err
			}
		}
		f.add(micros(ours), micros(base))
	}
	f.print()
	return nil
}

func (b *bench) openOurs(p payload.Payload) (time.Duration, error) {
	began := time.Now()
	r, err := b.stack.Client.Open(b.ctx, p.ID)
	if err != nil {
		return 0, err
	}
	content, err := r.Bytes()
	took := time.Since(began)
	if err == nil && int64(len(content)) != p.Size {
		err = fmt.Errorf("%d bytes of %d", len(content), p.Size)
	}
	if err != nil {
		return 0, err
	}
	return took, r.Close()
}

func (b *bench) openPlain(path string, size int64) (time.Duration, error) {
	began := time.Now()
	if err := b.echo.call(b.ctx); err != nil {
		return 0, err
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	content, err := unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, unix.Munmap(content)
}

func plainFile(path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = byte(i * 11)
	}
	for left := size; left > 0; left -= int64(len(piece)) {
		if _, err := file.Write(piece[:min(left, int64(len(piece)))]); err != nil {
			return err
		}
	}
	return file.Sync()
}

// moves: ram to disk and back, asked for by RPC and carried out by a workflow,
// against cp and fsync between the same file systems.
func (b *bench) moves() error {
	down := &figure{name: "spill 1 GiB ram to disk, call to answer", base: "cp /dev/shm to disk, with fsync", goal: "at least 0.80", unit: "GB/s"}
	up := &figure{name: "promote 1 GiB disk to ram, call to answer", base: "cp disk to /dev/shm, with fsync", goal: "at least 0.80", unit: "GB/s"}
	inMemory, onDisk := filepath.Join("/dev/shm", filepath.Base(b.dir)), filepath.Join(b.dir, "plain")
	defer os.Remove(inMemory)
	if err := plainFile(inMemory, gibibyte); err != nil {
		return err
	}
	for range b.rounds {
		if err := b.moveOnce(down, up, inMemory, onDisk); err != nil {
			return err
		}
	}
	down.print()
	up.print()
	return nil
}

func (b *bench) moveOnce(down, up *figure, inMemory, onDisk string) error {
	p, err := b.put(gibibyte)
	if err != nil {
		return err
	}
	spill, err := rate(func() error { _, err := b.stack.Client.Spill(b.ctx, p.ID, payload.Disk); return err })
	if err != nil {
		return err
	}
	write, err := rate(func() error { return copyFile(inMemory, onDisk) })
	if err != nil {
		return err
	}
	if err := dropCaches(); err != nil {
		return err
	}
	promote, err := rate(func() error { _, err := b.stack.Client.Promote(b.ctx, p.ID, payload.RAM); return err })
	if err != nil {
		return err
	}
	read, err := rate(func() error { return copyFile(onDisk, inMemory) })
	if err != nil {
		return err
	}
	down.add(spill, write)
	up.add(promote, read)
	os.Remove(onDisk)
	_, err = b.stack.Client.Delete(b.ctx, p.ID, sdk.UntilFreed())
	return err
}

// rate is GB/s of moving one gibibyte.
func rate(move func() error) (float64, error) {
	began := time.Now()
	err := move()
	return gibibyte / 1e9 / time.Since(began).Seconds(), err
}

func copyFile(from, to string) error {
	os.Remove(to)
	if err := exec.Command("cp", from, to).Run(); err != nil {
		return err
	}
	file, err := os.Open(to)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// dropCaches makes both readers read the disk. Only root may; for others both
// read what the page cache still has.
func dropCaches() error {
	err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0)
	if os.IsPermission(err) {
		return nil
	}
	return err
}
