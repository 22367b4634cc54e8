package main

import (
	"context"
	"errors"
	"os"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// The pipeline's producers and consumers are different processes, each with a
// queue of its own.
const (
	producers = "demo-producers"
	consumers = "demo-consumers"
)

// Step is what the pipeline did with one file.
type Step struct {
	Produced Produced `json:"produced"`
	Consumed Consumed `json:"consumed"`
}

// ConsumeInput names a payload, and the file that it must equal.
type ConsumeInput struct {
	Produced Produced `json:"produced"`
}

// Pipeline passes each file from a producer to a consumer by its payload's id:
// the workflow and its history see some hundred bytes of it.
func Pipeline(ctx workflow.Context, files []string) ([]Step, error) {
	on := func(queue, summary string) workflow.Context {
		return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue: queue, StartToCloseTimeout: time.Minute, Summary: summary,
			RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 3},
		})
	}
	var steps []Step
	for _, file := range files {
		var step Step
		if err := workflow.ExecuteActivity(on(producers, "write it into shared memory"), "Produce", file).Get(ctx, &step.Produced); err != nil {
			return nil, err
		}
		in := ConsumeInput{step.Produced}
		if err := workflow.ExecuteActivity(on(consumers, "lease it and read it in place"), "Consume", in).Get(ctx, &step.Consumed); err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// work is a worker process of the pipeline: args are Temporal's address and the
// queue to serve.
func work(ctx context.Context, socket string, args []string) error {
	connection, err := client.DialContext(ctx, client.Options{HostPort: args[0], Logger: silent{}})
	if err != nil {
		return err
	}
	defer connection.Close()
	w := worker.New(connection, args[1], worker.Options{})
	w.RegisterWorkflow(Pipeline)
	w.RegisterActivityWithOptions(func(ctx context.Context, file string) (Produced, error) {
		return produceFile(ctx, socket, file)
	}, activity.RegisterOptions{Name: "Produce"})
	w.RegisterActivityWithOptions(func(ctx context.Context, in ConsumeInput) (Consumed, error) {
		got, err := consumeID(ctx, socket, in.Produced.ID, in.Produced.File)
		if err == nil && got.Checksum != in.Produced.Checksum {
			err = errors.New("the consumer read other bytes than the producer wrote")
		}
		return got, err
	}, activity.RegisterOptions{Name: "Consume"})
	if err := w.Start(); err != nil {
		return err
	}
	os.Stdout.WriteString("ready\n")
	<-ctx.Done()
	w.Stop()
	return nil
}

// silent keeps the Temporal client's log out of the story.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
