; HEADER_BLOCK_START
; BambuStudio 01.09.05.51
; model printing time: 12m 10s; total estimated time: 18m 40s
; total layer number: 3
; total filament length [mm] : 30.00
; total filament volume [cm^3] : 72.16
; total filament weight [g] : 0.09
; filament_density: 1.24
; filament_diameter: 1.75
; max_z_height: 0.60
; HEADER_BLOCK_END

; CONFIG_BLOCK_START
; filament_colour = #00AE42
; filament_settings_id = "Bambu PLA Basic @BBL X1C"
; filament_type = PLA
; hot_plate_temp_initial_layer = 55
; initial_layer_print_height = 0.2
; layer_height = 0.2
; nozzle_diameter = 0.4
; nozzle_temperature_initial_layer = 220
; printer_model = Bambu Lab X1 Carbon
; CONFIG_BLOCK_END

; EXECUTABLE_BLOCK_START
M140 S55
M104 S220
G28
G90
M83
; CHANGE_LAYER
; Z_HEIGHT: 0.2
G1 Z0.2 F900
G1 X100 Y100 F9000
G1 X120 Y100 E2.5 F1800
G1 X120 Y120 E2.5
G1 X100 Y120 E2.5
G1 X100 Y100 E2.5
; CHANGE_LAYER
; Z_HEIGHT: 0.4
G1 Z0.4 F900
G1 X100 Y100 F9000
G1 X120 Y100 E2.5 F1800
G1 X120 Y120 E2.5
G1 X100 Y120 E2.5
G1 X100 Y100 E2.5
; CHANGE_LAYER
; Z_HEIGHT: 0.6
G1 Z0.6 F900
G1 X100 Y100 F9000
G1 X120 Y100 E2.5 F1800
G1 X120 Y120 E2.5
G1 X100 Y120 E2.5
G1 X100 Y100 E2.5
M104 S0
M140 S0
; EXECUTABLE_BLOCK_END
