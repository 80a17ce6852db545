package resources

import (
	"strings"

	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Scheduling returns the rows of the group scheduling.k8s.io.
func Scheduling() []Resource {
	r := row[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](schedulingv1.SchemeGroupVersion, "PriorityClass", "priorityclasses", "pc")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Value", "integer", schedulingv1.PriorityClass{}, "value"),
		docColumn("Global-Default", "boolean", schedulingv1.PriorityClass{}, "globalDefault"),
		ageColumn(),
		docColumn("PreemptionPolicy", "string", schedulingv1.PriorityClass{}, "preemptionPolicy"),
	}
	r.Cells = cells(func(c *schedulingv1.PriorityClass) []any {
		return []any{c.Name, int64(c.Value), c.GlobalDefault, since(c.CreationTimestamp), string(deref(c.PreemptionPolicy, ""))}
	})
	r.Strategy = priorityClassStrategy()
	return []Resource{r, podGroups(), workloads()}
}

// Pod groups and workloads are betas that are served without being switched on:
// the scheduler's placement of groups as a whole stands on them, and batch work
// should find it in every cluster.

func podGroups() Resource {
	r := row[schedulingv1beta1.PodGroup, schedulingv1beta1.PodGroupList](schedulingv1beta1.SchemeGroupVersion, "PodGroup", "podgroups")
	r.Default = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Policy", "string", "How the pods of the group are placed"),
		column("Scheduled", "string", "Whether enough pods of the group have been placed"),
		column("Template", "string", "The workload and the template of it that the group was made from"),
		ageColumn(),
	}
	r.Cells = cells(func(g *schedulingv1beta1.PodGroup) []any {
		scheduled, template := "<none>", "<none>"
		for _, c := range g.Status.Conditions {
			if c.Type == schedulingv1beta1.PodGroupInitiallyScheduled {
				scheduled = string(c.Status)
			}
		}
		if ref := g.Spec.WorkloadRef; ref != nil {
			template = ref.WorkloadName + "/" + ref.TemplateName
		}
		return []any{g.Name, groupPolicy(&g.Spec.SchedulingPolicy), scheduled, template, since(g.CreationTimestamp)}
	})
	r.Strategy = podGroupStrategy()
	r.Status = podGroupStatusStrategy()
	return r
}

func groupPolicy(p *schedulingv1beta1.PodGroupSchedulingPolicy) string {
	if p.Gang != nil {
		return "Gang"
	}
	return "Basic"
}

func workloads() Resource {
	r := row[schedulingv1beta1.Workload, schedulingv1beta1.WorkloadList](schedulingv1beta1.SchemeGroupVersion, "Workload", "workloads")
	r.Default = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Controller", "string", "The object that the workload describes"),
		column("Templates", "string", "The templates of pod groups"),
		ageColumn(),
	}
	r.Cells = cells(func(w *schedulingv1beta1.Workload) []any {
		controller := "<none>"
		if ref := w.Spec.ControllerRef; ref != nil {
			controller = ref.Kind + "/" + ref.Name
		}
		names := make([]string, len(w.Spec.PodGroupTemplates))
		for i := range w.Spec.PodGroupTemplates {
			names[i] = w.Spec.PodGroupTemplates[i].Name
		}
		return []any{w.Name, controller, strings.Join(names, ","), since(w.CreationTimestamp)}
	})
	r.Strategy = workloadStrategy()
	return r
}
