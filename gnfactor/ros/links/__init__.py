"""Ways to a robot: rospy, a rosbridge server, a recording; and what wraps a link."""
