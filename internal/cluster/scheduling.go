package cluster

import (
	"fmt"
	"os"

	"github.com/sinawi/sinawi/internal/apiserver/placing"
	"github.com/sinawi/sinawi/internal/scheduler/config"
)

// readSchedulerConfig reads how pods are scheduled, where a file says so.
func (c *Config) readSchedulerConfig() error {
	if c.SchedulerConfig == "" {
		return nil
	}
	if !c.enabled(PartScheduler) {
		return fmt.Errorf("--scheduler-config %s: the scheduler is switched off by --disable=%s; leave out one of them", c.SchedulerConfig, PartScheduler)
	}
	data, err := os.ReadFile(c.SchedulerConfig)
	if err != nil {
		return fmt.Errorf("--scheduler-config: %w; give a KubeSchedulerConfiguration file", err)
	}
	parsed, err := config.Parse(data)
	if err != nil {
		return fmt.Errorf("--scheduler-config %s: %w", c.SchedulerConfig, err)
	}
	c.scheduling = &parsed
	return nil
}

// placer is what gives new pods their node, nil where another program places them.
func (s *server) placer() placing.Placer {
	if !s.cfg.enabled(PartScheduler) {
		return nil
	}
	return &s.control.places
}
