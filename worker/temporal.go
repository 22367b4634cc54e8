package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/payload-manager/payload-manager/activities"
	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/worker/config"
	"github.com/payload-manager/payload-manager/worker/relay"
	"github.com/payload-manager/payload-manager/workflows"
)

// A bridge is this daemon's connection to Temporal: the relay, and two workers,
// one for any lifecycle and one for what touches this host's bytes.
type bridge struct {
	*relay.Relay
	config  config.Config
	client  client.Client
	log     *slog.Logger
	workers []worker.Worker
	done    chan struct{} // closed when run has ended
}

const (
	connectRound = 2 * time.Second // between tries to reach Temporal at start
	stopWorkers  = 2 * time.Second // for activities to end; longer ones are repeated elsewhere
)

// bridgeToTemporal connects in the background: nothing that is served waits for
// Temporal.
func (w *Worker) bridgeToTemporal(c config.Config, payloads *catalog.Catalog, host *placement.Host) (*bridge, error) {
	options, err := clientOptions(c.Temporal)
	if err != nil {
		return nil, err
	}
	options.Logger = sdklog.NewStructuredLogger(quiet(w.log))
	connection, err := client.NewLazyClient(options)
	if err != nil {
		return nil, err
	}
	b := &bridge{config: c, client: connection, log: w.log, done: make(chan struct{})}
	b.Relay = relay.New(relay.Options{
		Catalog: payloads, Client: connection, Namespace: options.Namespace, Host: c.Host.Name,
		Interval: c.Relay.Interval, InFlight: c.Relay.InFlight, Log: w.log,
	})
	host.OnDrained(b.Wake)
	b.workers = []worker.Worker{b.anyHost(activities.New(host, payloads)), b.thisHost(activities.New(host, payloads))}

	ctx, cancel := context.WithCancel(context.Background())
	go b.run(ctx)
	w.onStop("temporal", func(context.Context) error {
		cancel()
		<-b.done
		connection.Close()
		return nil
	})
	return b, nil
}

// clientOptions follow the profiles and variables that users of Temporal have
// already; what our configuration says wins.
func clientOptions(c config.Temporal) (client.Options, error) {
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{ConfigFileProfile: c.Profile})
	if err != nil {
		return client.Options{}, err
	}
	if c.Address != "" {
		options.HostPort = c.Address
	}
	if c.Namespace != "" {
		options.Namespace = c.Namespace
	}
	if options.HostPort == "" {
		options.HostPort = client.DefaultHostPort
	}
	if options.Namespace == "" {
		options.Namespace = client.DefaultNamespace
	}
	return options, nil
}

// anyHost is the worker of the queue that all hosts share.
func (b *bridge) anyHost(a *activities.Activities) worker.Worker {
	w := worker.New(b.client, contract.TaskQueue, worker.Options{
		WorkerStopTimeout:                stopWorkers,
		MaxConcurrentWorkflowTaskPollers: 4,
	})
	workflows.Register(w)
	activities.Register(w, a)
	return w
}

// thisHost is the worker of this host's own queue: as many activities at a time
// as its devices bear copies, and some that only free.
func (b *bridge) thisHost(a *activities.Activities) worker.Worker {
	const freeing = 4
	w := worker.New(b.client, contract.HostQueue(b.config.Host.Name), worker.Options{
		WorkerStopTimeout:                  stopWorkers,
		DisableWorkflowWorker:              true,
		MaxConcurrentActivityExecutionSize: b.config.Worker.Copies + freeing,
	})
	activities.Register(w, a)
	return w
}

// run connects, prepares the namespace, starts the workers and carries the
// outbox, until ctx ends.
func (b *bridge) run(ctx context.Context) {
	defer close(b.done)
	if !b.connect(ctx) {
		return
	}
	var started []worker.Worker
	for _, w := range b.workers {
		if err := w.Start(); err != nil {
			b.log.Error("a Temporal worker does not start; lifecycles wait until the daemon is started again", "error", err)
			continue
		}
		started = append(started, w)
	}
	b.Run(ctx)
	var stopping sync.WaitGroup
	for _, w := range started {
		stopping.Go(w.Stop)
	}
	stopping.Wait()
}

// connect tries until the namespace is prepared, and says once that it cannot
// be reached.
func (b *bridge) connect(ctx context.Context) bool {
	sweeping := relay.Sweeping{Spec: b.config.Lifecycle.Sweep, Input: contract.SweepInput{
		Grace: b.config.Lifecycle.Grace, Retention: b.config.Lifecycle.Retention,
	}}
	for said := false; ctx.Err() == nil; {
		err := b.Prepare(ctx, sweeping)
		if err == nil {
			b.log.Info("connected to Temporal")
			return true
		}
		if !said && ctx.Err() == nil {
			b.log.Warn("Temporal cannot be reached; payloads are served all the same, and lifecycles catch up later", "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(connectRound):
		}
	}
	return false
}

// quiet keeps the Temporal SDK's own chatter, which repeats itself during an
// outage, to errors.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(atLeast{slog.LevelError, log.Handler()}) }

type atLeast struct {
	level slog.Level
	slog.Handler
}

func (h atLeast) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h atLeast) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLeast{h.level, h.Handler.WithAttrs(attrs)}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.level, h.Handler.WithGroup(name)}
}
